#!/usr/bin/env python3
"""Look into a wheel and an sdist: size, nothing but the package, nothing of it missing. Needs Python alone.

scripts/measure/wheel_contents.py dist/x.whl dist/x.tar.gz .
"""

import argparse
import re
import sys
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

MOST = 20_000_000  # bytes of each
PACKAGE = "fewshot_reenact"
KINDS = {".py", ".typed", ".md", ".safetensors", ".npz", ".jpg", ".mp4", ".html", ".yaml", ".json"}  # no pickles
BESIDE = re.compile(  # of an sdist
    r"(PKG-INFO|pyproject\.toml|setup\.cfg|README\.md|LICENSE|RESPONSIBLE_USE\.md|tests[/]test_\w+\.py|"
    r"src/fewshot_reenact\.egg-info/[\w.-]+)"
)


def main(wheel: Path, sdist: Path, source: Path) -> int:
    wrong = faults(wheel, sdist, source)
    for line in wrong:
        print(f"wheel_contents: {line}", file=sys.stderr)
    for path in (wheel, sdist):
        print(f"{path.name}: {path.stat().st_size / 1e6:.1f} MB, {len(names_of(path))} files")
    return int(bool(wrong))


def faults(wheel: Path, sdist: Path, source: Path) -> list[str]:
    """What is wrong with them, a line each."""
    wrong = [
        f"{path.name}: {path.stat().st_size:,} bytes, {MOST:,} at most"
        for path in (wheel, sdist)
        if path.stat().st_size > MOST
    ]
    inside, packed = names_of(wheel), {name.split("/", 1)[1] for name in names_of(sdist) if "/" in name}
    info = re.compile(r"fewshot_reenact-[^/]+\.dist-info/")
    wrong += [f"{wheel.name}: {name}: is no part of the package" for name in sorted(inside) if not ours(name, info)]
    own = {name.removeprefix("src/") for name in packed if name.startswith(f"src/{PACKAGE}/")}
    others = sorted(name for name in packed if name.removeprefix("src/") not in own and not BESIDE.fullmatch(name))
    wrong += [f"{sdist.name}: {name}: does not belong here" for name in others]
    wrong += [f"{sdist.name}: {name}: is no part of the package" for name in sorted(own) if not ours(name, info)]
    for path in sorted((source / "src" / PACKAGE).rglob("*")):
        name = path.relative_to(source / "src").as_posix()
        if path.is_file() and "__pycache__" not in path.parts:
            wrong += [
                f"{one.name}: {name}: is missing"
                for one, all_of in ((wheel, inside), (sdist, own))
                if name not in all_of
            ]
    for wanted in ("METADATA", "LICENSE", "RESPONSIBLE_USE.md", "entry_points.txt"):
        if not any(info.match(name) and name.endswith(f"/{wanted}") for name in inside):
            wrong.append(f"{wheel.name}: has no {wanted}")
    return wrong


def ours(name: str, info: "re.Pattern[str]") -> bool:
    """Whether a file may be in the wheel."""
    path = PurePosixPath(name)
    if info.match(name):
        return True
    return path.parts[0] == PACKAGE and path.suffix in KINDS and "tests" not in path.parts


def names_of(path: Path) -> set[str]:
    """The files in a wheel or an sdist."""
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as archive:
            return {name for name in archive.namelist() if not name.endswith("/")}
    with tarfile.open(path) as archive:
        return {member.name for member in archive.getmembers() if member.isfile()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("wheel", type=Path)
    parser.add_argument("sdist", type=Path)
    parser.add_argument("source", type=Path, help="the checkout that they were built from")
    given = parser.parse_args()
    sys.exit(main(given.wheel, given.sdist, given.source))
