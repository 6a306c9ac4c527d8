"""What a check says: one finding for each thing looked at, and the worst of them for the whole file."""

from dataclasses import dataclass, field
from typing import Any

GOOD, USABLE, POOR, UNUSABLE = VERDICTS = ("good", "usable", "poor", "unusable")


def worst(verdicts: list[str]) -> str:
    """The worst of some verdicts; good for none."""
    return max(verdicts, key=VERDICTS.index, default=GOOD)


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    name: what. value: plain data, for JSON; None where it could not be measured. shown: the value as people read it.
    verdict: one of VERDICTS. advice: what it means and what to do, empty where all is well.
    """

    name: str
    value: Any
    shown: str
    verdict: str = GOOD
    advice: str = ""


@dataclass(frozen=True)
class Report:
    """One file. file: its name as it was given. kind: "portrait" or "driver". size: (width, height) in pixels, None
    where it cannot be read. findings: one for each thing looked at, with its value, verdict and advice.
    """

    file: str
    kind: str
    size: tuple[int, int] | None
    findings: list[Finding] = field(default_factory=list)

    @property
    def verdict(self) -> str:
        """That of the worst finding: "good", "usable", "poor" or "unusable"."""
        return worst([finding.verdict for finding in self.findings])

    def report(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return {
            "file": self.file,
            "kind": self.kind,
            "size": list(self.size) if self.size else None,
            "verdict": self.verdict,
            "findings": {
                one.name: {"value": one.value, "shown": one.shown, "verdict": one.verdict, "advice": one.advice}
                for one in self.findings
            },
        }

    def in_words(self) -> str:
        """For people: the verdict, a line for each finding, and under what is not good what to do."""
        size = f", {self.size[0]}x{self.size[1]}" if self.size else ""
        lines = [f"{self.file} ({self.kind}{size}): {self.verdict}"]
        for one in self.findings:
            lines.append(f"  {one.verdict:<9} {one.name:<17} {one.shown}".rstrip())
            if one.advice:
                lines.append(f"{'':<30}{one.advice}")
        return "\n".join(lines)


def unreadable(file: str, kind: str, reason: str) -> Report:
    """The report of a file that cannot be used at all; `reason` is the error's one line."""
    return Report(file, kind, None, [Finding("input", None, "cannot be used", UNUSABLE, reason)])
