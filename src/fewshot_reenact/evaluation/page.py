"""The report of `evaluate` as one page that needs nothing else: means, figures of each clip, the worst frames first."""

import base64
import heapq
import html
import io
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from fewshot_reenact.evaluation.metrics import METRICS
from fewshot_reenact.evaluation.sheet import Sheet

KEEP = 8  # frames of each T and method
_RANKED_BY = ("lpips", "perceptual", "landmarks")
_STYLE = """
:root { color-scheme: light dark; font: 15px/1.45 system-ui, sans-serif; }
body { max-width: 90rem; margin: 0 auto; padding: 1rem; }
table { border-collapse: collapse; display: block; overflow-x: auto; }
td, th { padding: 0.15rem 0.6rem; border-bottom: 1px solid #8886; text-align: right; }
td.word, th.word { text-align: left; }
figure { display: inline-block; margin: 0 1rem 1rem 0; vertical-align: top; }
figure img { display: block; max-width: 100%; }
figcaption { max-width: 42rem; }
"""


@dataclass
class WorstFrames:
    """The frames that came out worst, of each T and method, with a small sheet each.

    Frames without a face come first, then by LPIPS, else the perceptual distance, else (no truth) the landmarks' error.
    """

    titles: tuple[str, str]
    keep: int = KEEP
    _heaps: dict[tuple[int, str], list[tuple[tuple[float, float], int, dict[str, Any]]]] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def add(
        self, clip: str, shots: int, method: str, frame: int, scores: dict[str, float], pictures: Sequence[np.ndarray]
    ) -> None:
        """A frame. pictures: portrait, truth or driver, what was made; (H, W, 3) uint8 RGB."""
        heap = self._heaps.setdefault((shots, method), [])
        bad = scores.get("lost", 0.0), next((scores[name] for name in _RANKED_BY if name in scores), 0.0)
        if len(heap) == self.keep and bad <= heap[0][0]:
            return
        sheet = Sheet([*self.titles, method])
        sheet.add(f"{clip} {frame}", pictures)
        row = {"clip": clip, "frame": frame, "scores": scores, "sheet": sheet.picture()}
        entry = (bad, -next(self._numbers), row)  # of equally bad ones the first
        (heapq.heappush if len(heap) < self.keep else heapq.heappushpop)(heap, entry)

    def ranked(self) -> list[tuple[int, str, list[dict[str, Any]]]]:
        """(T, method, its frames from the worst on)."""
        found = []
        for (shots, method), heap in sorted(self._heaps.items(), key=lambda item: item[0][0]):
            found.append((shots, method, [row for *_, row in sorted(heap, key=lambda e: e[:2], reverse=True)]))
        return found


def report_page(
    report: dict[str, Any], worst: WorstFrames, label: Callable[[np.ndarray], np.ndarray], made_by: str
) -> str:
    """The page's HTML. report: as `Evaluation.report`. label: puts the marks into a picture. made_by: for its head."""
    shown = ("protocol", "clips", "shots", "methods", "model", "model_sha256", "every", "held_out", "seed", "device")
    settings = [(name, report[name]) for name in (*shown, "perceptual", "identity", "lpips", "fid") if name in report]
    parts = [
        '<!doctype html><html lang="en"><meta charset="utf-8">',
        f'<meta name="generator" content="{html.escape(made_by)}">',
        f"<title>reenact evaluate</title><style>{_STYLE}</style><h1>reenact evaluate</h1>",
        "<p>The pictures of this page are AI-generated but for portraits and true frames.</p>",
        "<h2>Means over clips</h2>",
        _table(report["means"], ("shots", "method", "motion", "clips")),
        "<h2>How</h2>",
        _rows(settings),
        *_list("Warnings", report["warnings"]),
        *_list("Left out", [f"{clip}: {why}" for clip, why in report["skipped"].items()]),
        "<h2>The worst frames</h2>",
    ]
    for shots, method, frames in worst.ranked():
        parts.append(f"<h3>T = {shots}, {html.escape(method)}</h3>")
        parts += [_figure(row, label) for row in frames]
    parts += [
        "<h2>Every clip</h2>",
        _table(report["rows"], ("clip", "driver", "shots", "method", "motion", "frames")),
    ]
    return "\n".join(parts) + "\n"


def _figure(row: dict[str, Any], label: Callable[[np.ndarray], np.ndarray]) -> str:
    file = io.BytesIO()
    Image.fromarray(label(row["sheet"])).save(file, "JPEG", quality=88)
    data = base64.b64encode(file.getvalue()).decode()
    figures = ", ".join(f"{METRICS[k].title} {_number(k, v)}" for k, v in row["scores"].items() if k in METRICS)
    name = html.escape(f"{row['clip']}, frame {row['frame']}")
    image = f'<img alt="{name}" src="data:image/jpeg;base64,{data}">'
    return f"<figure>{image}<figcaption>{name}: {html.escape(figures)}</figcaption></figure>"


def _number(key: str, value: float) -> str:
    return f"{value * METRICS[key].scale:.{METRICS[key].decimals}f}"


def _table(rows: Sequence[dict[str, Any]], words: Sequence[str]) -> str:
    words = [word for word in words if any(word in row for row in rows)]
    keys = [key for key in METRICS if any(key in row for row in rows)]
    arrows = {True: "↑", False: "↓"}
    head = [f'<th class="word">{word}</th>' for word in words]
    head += [f"<th>{html.escape(METRICS[key].title)} {arrows[METRICS[key].higher]}</th>" for key in keys]
    lines = [f"<tr>{''.join(head)}</tr>"]
    for row in rows:
        cells = [f'<td class="word">{html.escape(str(row.get(word, "")))}</td>' for word in words]
        cells += [f"<td>{_number(key, row[key]) if key in row else ''}</td>" for key in keys]
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return f"<table>{''.join(lines)}</table>"


def _rows(pairs: Sequence[tuple[str, Any]]) -> str:
    cells = [f'<td class="word">{html.escape(a)}</td><td class="word">{html.escape(str(b))}</td>' for a, b in pairs]
    lines = [f"<tr>{one}</tr>" for one in cells]
    return f"<table>{''.join(lines)}</table>"


def _list(title: str, lines: Sequence[str]) -> list[str]:
    items = "".join(f"<li>{html.escape(line)}</li>" for line in lines)
    return [f"<h2>{title}</h2><ul>{items}</ul>"] if lines else []
