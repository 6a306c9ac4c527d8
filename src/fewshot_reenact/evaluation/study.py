"""The paper's user study: two real frames of a person and a made one, shuffled; people say which was made.

Where nobody can tell, it is found in a third of the triplets. As in the paper the real frames come from other videos of
the person; where the clips have too few, from the same video.
"""

import base64
import io
import itertools
import json
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from fewshot_reenact.errors import UsageError
from fewshot_reenact.evaluation.protocol import random_for
from fewshot_reenact.files import output_error
from fewshot_reenact.media.file_types import open_image
from fewshot_reenact.media.marks import Marks
from fewshot_reenact.media.pictures import write_picture

M = TypeVar("M", bound=Marks)
SCHEMA = "fewshot-reenact/triplets/1"
KEY, PAGE = "key.json", "study.html"
_REAL = 3  # frames kept of a clip: two to show, and one more if one of them is what was made


@dataclass(frozen=True)
class _Frame:
    """A picture, losslessly packed, for a large study is all in memory. about: clip and frame."""

    png: bytes
    size: tuple[int, ...]
    about: dict[str, Any]


@dataclass
class Study:
    """Collects frames while methods are compared; `write` makes the folder.

    left_out: made frames without two real ones, known after `write`. seed: of which frames are shown, in what order.
    """

    seed: int
    left_out: int = 0
    _real: dict[str, dict[str, list[_Frame]]] = field(default_factory=dict)
    _made: list[tuple[str, dict[str, Any], _Frame]] = field(default_factory=list)

    def choose(self, clip: str, shots: int, method: str, count: int) -> int:
        """Which of a clip's `count` compared frames this method is shown by."""
        return int(random_for(self.seed, f"shown of {clip} {shots} {method}").integers(count))

    def add_real(self, person: str, clip: str, frames: dict[int, np.ndarray]) -> None:
        """True frames of a clip, by number, (H, W, 3) uint8 RGB; a few of them are kept."""
        order = random_for(self.seed, f"real of {clip}").permutation(sorted(frames))[:_REAL]
        kept = [_packed(frames[int(t)], {"clip": clip, "frame": int(t)}) for t in order]
        self._real.setdefault(person, {})[clip] = kept

    def add_made(self, person: str, clip: str, shots: int, method: str, frame: int, picture: np.ndarray) -> None:
        """What a method made in place of a clip's frame."""
        about = {"shots": shots, "method": method}
        self._made.append((person, about, _packed(picture, {"clip": clip, "frame": frame})))

    def triplets(self) -> list[tuple[list[_Frame], dict[str, Any]]]:
        """The three pictures as they are shown, and what the key says of them."""
        found = []
        for person, about, made in self._made:
            name = " ".join(str(value) for value in (*made.about.values(), *about.values()))
            rng = random_for(self.seed, f"triplet {name}")
            real = list(itertools.islice(self._companions(person, made, rng), 2))
            if len(real) < 2:
                self.left_out += 1
                continue
            shown = [made, *real]
            order = rng.permutation(3).tolist()
            key = {**about, **made.about, "made": order.index(0) + 1, "real": [one.about for one in real]}
            found.append(([shown[k] for k in order], key))
        return [found[k] for k in random_for(self.seed, "order of triplets").permutation(len(found))]

    def _companions(self, person: str, made: _Frame, rng: np.random.Generator) -> Iterable[_Frame]:
        """Real frames of the person at the made one's size: one of each other clip, then of its own."""
        clips = self._real.get(person, {})
        others = [clip for clip in sorted(clips) if clip != made.about["clip"]]
        for clip in (others[k] for k in rng.permutation(len(others))):
            yield from [one for one in clips[clip] if one.size == made.size][:1]
        own = clips.get(made.about["clip"], [])
        yield from (one for one in own if one.size == made.size and one.about != made.about)

    def write(self, folder: Path, marks: Callable[[], M], marked: Callable[[M, Path], None]) -> int:
        """Make the folder's files: NNN_1.png to NNN_3.png, key.json, study.html. Returns how many triplets.

        marks: of a made picture, without the visible label, which would give the answer. marked: called for each once
        it has its name. Raises UsageError when there is none, or they cannot be written.
        """
        triplets = self.triplets()
        if not triplets:
            raise UsageError(f"{folder}: no triplet can be made: a made frame and two real ones of a person are wanted")
        pages, keys, done = [], [], []
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".triplets-", dir=folder) as name:
                for number, (shown, key) in enumerate(triplets, 1):
                    paths = [Path(name) / f"{number:03d}_{k}.png" for k in (1, 2, 3)]
                    for k, (path, frame) in enumerate(zip(paths, shown, strict=True), 1):
                        if k == key["made"]:
                            mark = marks()
                            write_picture(path, _unpacked(frame.png), marks=mark)
                            done.append((mark, folder / path.name))
                        else:
                            path.write_bytes(frame.png)
                    pages.append([_address(path.read_bytes()) for path in paths])
                    keys.append({"triplet": number, "files": [path.name for path in paths], **key})
                answers = {"schema": SCHEMA, "seed": self.seed, "triplets": keys}
                (Path(name) / KEY).write_text(json.dumps(answers, indent=1) + "\n", encoding="utf-8")
                (Path(name) / PAGE).write_text(_page(pages, keys), encoding="utf-8")
                new = sorted(Path(name).iterdir())
                for path in new:
                    path.replace(folder / path.name)
            for old in set(folder.glob("[0-9][0-9][0-9]*_[123].png")) - {folder / path.name for path in new}:
                old.unlink()  # of an earlier study with more triplets
        except OSError as error:
            raise output_error(folder, error) from error
        for mark, path in done:
            marked(mark, path)
        return len(triplets)


def check_folder(folder: Path, overwrite: bool) -> None:
    """Raises UsageError where a study would be mixed with other files."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder}: is a file; --triplets wants a folder")
    if folder.is_dir() and any(folder.iterdir()) and not (overwrite and (folder / KEY).is_file()):
        also = "" if (folder / KEY).is_file() else "; --overwrite replaces an earlier study only"
        raise UsageError(
            f"{folder}: is not empty; give another folder{also or ', or --overwrite to replace the study'}"
        )


def _packed(picture: np.ndarray, about: dict[str, Any]) -> _Frame:
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(file, "PNG", compress_level=3)
    return _Frame(file.getvalue(), picture.shape, about)


def _unpacked(png: bytes) -> np.ndarray:
    return np.asarray(open_image(io.BytesIO(png)))


def _address(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()


def _page(pictures: list[list[str]], keys: list[dict[str, Any]]) -> str:
    """The page holds pictures and answers; those are packed, so that a glance at its source tells nothing."""
    answers = [{name: key[name] for name in ("triplet", "made", "shots", "method")} for key in keys]
    packed = base64.b64encode(json.dumps(answers).encode()).decode()
    page = (files("fewshot_reenact") / "assets" / PAGE).read_text("utf-8")
    # One pass: what is put in is not searched again.
    return page.replace('"ANSWERS"', json.dumps(packed)).replace('"PICTURES"', json.dumps(pictures))
