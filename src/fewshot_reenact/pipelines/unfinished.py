"""Long videos that are half done: what is kept of one in a hidden folder beside the output, until that is whole.

    .OUT.mp4.part/    motion.npz      the driver's points, so that it is not measured again
                      state.json      what the video is made of, the watermark's id, what else was measured
                      000000.*.mp4    closed pieces, see media.segments

The same command goes on behind the last piece, and what comes out is what would have come out without the pause.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import cv2
import numpy as np
import torch

from fewshot_reenact._version import __version__
from fewshot_reenact.errors import InputError, add_note
from fewshot_reenact.files import held_folder, partial_file, sha256
from fewshot_reenact.inputs.driver import Driver
from fewshot_reenact.media import segments, timestamps
from fewshot_reenact.motion.files import load_motion, save_motion
from fewshot_reenact.pipelines.animate_steps import Cast, Job
from fewshot_reenact.pipelines.options import AnimateOptions
from fewshot_reenact.provenance.assertions import Origin

logger = logging.getLogger(__name__)

SCHEMA = "fewshot-reenact/unfinished/1"
# Videos of fewer frames, 20 seconds of most, are made in one piece: to make them anew takes seconds.
LONG = 2 * segments.SEGMENT
_STATE, _MOTION = "state.json", "motion.npz"
_LARGEST_STATE = 1 << 20  # bytes
_OURS = r"state\.json|motion\.npz|\d{6}\.([0-9a-f]{16}\.\w+|partial)|(whole|\.state|\.motion)\..*partial"
# What of the options is told otherwise (by what is in a file, by what was chosen), and what changes no frame.
_TOLD_OTHERWISE = ("matte", "model", "device", "landmarks")
_NOT_COMPARED = (*_TOLD_OTHERWISE, "keep_going", "provider", "timestamp", "consent_file", "private_driver")


class Unfinished:
    """What is kept of one output. A context manager: what is there is looked at when it is entered; on success the
    folder goes, else it stays, and the exception has a note that says so (PEP 678).

    made_of: all that decides how frames come out, see `made_of`; None: nothing is kept, nor looked for. keep: False:
    what is there is thrown away, and nothing is kept.
    driven: the driver as it was measured before, watermark: the id in the frames that are there; None where there is
    nothing. first: how many frames are there. segments: the pieces, once they are begun.

    Raises UsageError: another process is at work on this output, or the folder cannot be written.
    """

    def __init__(self, job: Job, made_of: dict[str, Any] | None, keep: bool = True) -> None:
        self.output, self.folder = job.output, part_folder(job.output)
        self.driven: Driver | None = None
        self.watermark: str | None = None
        self.first = 0
        self.segments: segments.Segments | None = None
        self._job, self._made_of, self._keep = job, made_of, keep
        self._held: contextlib.ExitStack | None = None

    def __enter__(self) -> Unfinished:
        if self._made_of is not None and self.folder.is_dir():
            self._hold()
            try:
                why = self._take_up()
                if why is not None:
                    logger.warning("%s: what is kept of it is not used, %s; it begins anew", self.output.name, why)
                if self.segments is None:
                    self._clear()
                elif self.driven is not None:
                    total = len(self.driven.motion)
                    logger.warning(
                        "%s: %d of %d frames are kept; it goes on there", self.output.name, self.first, total
                    )
            except BaseException:
                self._let_go()
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.segments is not None and error is None:
            self._clear()
        elif self.segments is not None and error is not None:
            done, total = self.segments.frames, len(self.segments.pts)
            add_note(error, f"{self.output.name}: {done} of {total} frames are kept, the same command goes on there")
        self._let_go()

    def begin(self, driven: Driver, watermark: str) -> None:
        """The driver was measured: from now on a long video is kept. watermark: the id in its frames."""
        if self._made_of is None or not self._keep or self.segments is not None or len(driven.motion) < LONG:
            return
        if self._held is None:
            self._hold()
        save_motion(driven.motion, self.folder / _MOTION, overwrite=True)
        state = {
            "schema": SCHEMA,
            "made_of": self._made_of,
            "watermark": watermark,
            "turn": driven.source.turn,
            "notes": driven.motion.notes,
            "faces": driven.motion.most_faces,
            "sound": driven.audio_from is not None,
            "sound_from": str(driven.audio_start),
            "sound_to": None if driven.audio_end is None else str(driven.audio_end),
            "sound_jumps": [str(jump) for jump in driven.audio_jumps],
            "sound_tempo": str(driven.audio_tempo),
            "hdr": driven.hdr,
        }
        with partial_file(self.folder / _STATE, overwrite=True) as partial:
            partial.write_text(json.dumps(state, indent=1) + "\n", encoding="utf-8")
        self.segments = self._pieces(driven)

    def _take_up(self) -> str | None:
        """Goes on with what is there. Returns why it cannot be used; None also where there is nothing."""
        path = self.folder / _STATE
        if not path.exists():
            return None
        if not self._keep:
            return "as it shall be made in one piece"
        try:
            state = _read(path)
            other = differing(state["made_of"], self._made_of or {})
            if other:
                return f"it was made with another {other}"
            self.watermark = re.fullmatch("[0-9a-f]{16}", state["watermark"])[0]  # type: ignore[index]
            self.driven = self._restored(state)
            self.segments = self._pieces(self.driven)
            self.first = self.segments.frames
        # Whatever a damaged file holds: numbers for texts, lists for objects.
        except (InputError, OSError, ValueError, TypeError, LookupError, ArithmeticError, RecursionError):
            self.watermark = self.driven = self.segments = None
            return "it cannot be read"
        return None

    def _restored(self, state: dict[str, Any]) -> Driver:
        source = replace(self._job.driver, turn=int(state["turn"]))
        motion = load_motion(self.folder / _MOTION)
        motion.notes, motion.most_faces = [str(note) for note in state["notes"]], int(state["faces"])
        return Driver(
            source,
            motion,
            source.path if state["sound"] else None,
            Fraction(state["sound_from"]),
            None if state["sound_to"] is None else Fraction(state["sound_to"]),
            tuple(Fraction(jump) for jump in state["sound_jumps"]),
            Fraction(state["sound_tempo"]),
            hdr=None if state["hdr"] is None else str(state["hdr"]),
        )

    def _pieces(self, driven: Driver) -> segments.Segments:
        pts, _ = timestamps.fit(driven.motion.pts.tolist(), driven.motion.time_base)
        return segments.Segments(self.folder, self.output.suffix.lower(), pts)

    def _hold(self) -> None:
        said = f"{self.output}: another reenact is making it; wait for it, or name another output"
        self._held = contextlib.ExitStack()
        self._held.enter_context(held_folder(self.folder, said))

    def _let_go(self) -> None:
        if self._held is not None:
            self._held.close()
            with contextlib.suppress(OSError):  # something is in it
                self.folder.rmdir()

    def _clear(self) -> None:
        for path in self.folder.iterdir():
            if re.fullmatch(_OURS, path.name):
                with contextlib.suppress(OSError):
                    path.unlink()


def part_folder(path: Path) -> Path:
    """The hidden folder beside an output in which a long work keeps what is done of it: `.NAME.part`."""
    # As for partial files: a long name is shortened.
    return path.absolute().parent / f".{os.fsdecode(os.fsencode(path.name)[:200])}.part"


def made_of(job: Job, options: AnimateOptions, cast: Cast, origin: Origin) -> dict[str, Any]:
    """All that decides how frames come out, by names that people know: inputs by what is in them, options, versions."""
    files: dict[str, Any] = {}
    for one in origin.ingredients:
        files.setdefault(one.role, []).append(one.sha256 or one.name)
    files["model"] = cast.model_sha256
    if options.matte is not None:
        files["matte"] = sha256(Path(options.matte))
    chosen = options.as_data()
    if job.ground is not None and job.ground.files:
        chosen["background"] = [sha256(path) for path in job.ground.files]
    chosen["watermark_key"] = origin.watermark_key
    said = {f"--{name.replace('_', '-')}": value for name, value in chosen.items() if name not in _NOT_COMPARED}
    made_by = {"version of this tool": __version__, "device": str(cast.device), "kind of landmarks": cast.backend.name}
    libraries = {
        "version of torch": torch.__version__,
        "version of OpenCV": cv2.__version__,
        "version of NumPy": np.__version__,
        "version of PyAV": av.__version__,
    }
    plain: dict[str, Any] = json.loads(json.dumps({**files, **said, **made_by, **libraries}))
    return plain


def differing(before: dict[str, Any], now: dict[str, Any]) -> str:
    """In what two results of `made_of` differ, for people; empty where they are equal."""
    names = [name for name in {**now, **before} if before.get(name) != now.get(name)]
    return ", ".join(names[:3]) + (" and more" if len(names) > 3 else "")


def _read(path: Path) -> dict[str, Any]:
    if path.stat().st_size > _LARGEST_STATE:
        raise ValueError("absurdly large")
    state = json.loads(path.read_text("utf-8"))
    if state["schema"] != SCHEMA:
        raise ValueError("another version's")
    return dict(state)
