"""Motion files: npz (arrays only), JSON and JSON lines (`motion.json_lines`), the same keys in all of them.

    points      (frames, 83, 2) float32, pixels; NaN (null in JSON) where no face was found
    confidence  (frames,) float32, 0..1; 0 where no face was found
    timestamps  (frames,) float64, seconds
    fps         one number, frames a second
    size        (width, height) of the picture in pixels
    schema      "fewshot-reenact-motion/1"
and, of which a file has no need to be used:
    angles (frames, 3) float32, degrees: yaw, pitch, roll of the head, NaN (null in JSON) where no face was found; for
    other programs, since whoever reads the points can find them anew
    pts (frames,) int64, time_base (2,) and fps_ratio (2,): numerator and denominator: the exact times of a video
    cuts (any,) int64: first frames of shots; source: a name

A motion file may come from a stranger: pickled objects are never read, and sizes are checked before anything is
unpacked.
"""

import json
import tokenize
import zipfile
import zlib
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import numpy as np

from fewshot_reenact.errors import InputError
from fewshot_reenact.files import partial_file
from fewshot_reenact.geometry.topology import N_POINTS, eye_distance
from fewshot_reenact.motion.arkit import read_arkit
from fewshot_reenact.motion.json_lines import read_json_lines, write_json_lines
from fewshot_reenact.motion.limits import FASTEST, MAX_FILE, MAX_FRAMES, MAX_SIDE, SLOWEST, SMALLEST_FACE
from fewshot_reenact.motion.motion import Motion
from fewshot_reenact.motion.openseeface import read_openseeface
from fewshot_reenact.plain_json import read_json

SCHEMA = "fewshot-reenact-motion/"
VERSION = 1
REQUIRED = ("points", "confidence", "timestamps", "fps", "size", "schema")
OPTIONAL = ("pts", "time_base", "fps_ratio", "cuts", "source")
SUFFIXES = (".npz", ".json", ".jsonl")  # of files with points, which are written and read
BLENDSHAPES = ".csv"  # of files with the 52 blendshapes, see motion.arkit
OPENSEEFACE = ".osf"  # of logs, see motion.openseeface
READ = (*SUFFIXES, BLENDSHAPES, OPENSEEFACE)
MAX_TEXT = 4096  # bytes of schema and source
MAX_RATIO = 2**31 - 1  # what a video file's own fractions are made of
_SAME_STEP = 2e-3  # seconds by which pts and timestamps may differ from frame to frame
_UNPACKED = 50  # times the file's size, and 64 MB, is what a key may unpack to: real points shrink by two or three


def save_motion(motion: Motion, path: str | Path, overwrite: bool = False) -> Path:
    """Writes a motion file, whole or not at all; .npz, .json or .jsonl by the suffix.

    Raises UsageError for another suffix, for an existing file without `overwrite`, and when it cannot be written.
    """
    path = Path(path)
    arrays: dict[str, Any] = {
        "points": motion.points,
        "confidence": motion.confidence,
        "timestamps": motion.times,
        "fps": np.float64(motion.fps),
        "size": np.array(motion.size, np.int64),
        "schema": f"{SCHEMA}{VERSION}",
        "angles": motion.angles().astype(np.float32),
        "pts": motion.pts,
        "time_base": np.array(motion.time_base.as_integer_ratio(), np.int64),
        "fps_ratio": np.array(motion.fps.as_integer_ratio(), np.int64),
        "cuts": np.array(motion.cuts, np.int64),
        "source": motion.source,
    }
    with partial_file(path, overwrite, suffixes=SUFFIXES) as temporary:
        if path.suffix.lower() == ".npz":
            with temporary.open("wb") as file:
                np.savez_compressed(file, allow_pickle=False, **arrays)
        elif path.suffix.lower() == ".jsonl":
            write_json_lines(arrays, temporary)
        else:
            temporary.write_text(_as_json(arrays), encoding="utf-8")
    return path


def _as_json(arrays: dict[str, Any]) -> str:
    plain = {key: value if isinstance(value, str) else np.asarray(value).tolist() for key, value in arrays.items()}
    # A thousandth of a pixel is far below what landmarks are good for; strict JSON has no NaN.
    points = np.round(arrays["points"].astype(np.float64), 3)
    found = ~np.isnan(points).any((1, 2))
    plain["points"] = [frame.tolist() if ok else None for frame, ok in zip(points, found, strict=True)]
    angles = np.round(arrays["angles"].astype(np.float64), 2)
    plain["angles"] = [frame.tolist() if ok else None for frame, ok in zip(angles, found, strict=True)]
    plain["confidence"] = np.round(arrays["confidence"].astype(np.float64), 4).tolist()
    return json.dumps(plain, allow_nan=False, separators=(",", ":")) + "\n"


def load_motion(path: str | Path, face: int | Literal["largest"] = "largest", option: str = "--driver-face") -> Motion:
    """Reads a motion file, or what another program recorded: by its suffix one of READ, others are taken for .npz.

    face: where a recording holds several, the largest or the Nth from the left; option: how the user chooses it, for
    messages. Raises InputError when it is missing, damaged, unsafe, not a motion file, or has no such face.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such motion file; check the name")
    kind = path.suffix.lower()
    try:
        if kind == BLENDSHAPES:
            return read_arkit(path)
        if kind == OPENSEEFACE:
            return read_openseeface(path, face, option)
        readers = {".json": _read_json, ".jsonl": read_json_lines}
        return _build(readers.get(kind, _read_npz)(path), path)
    except InputError as error:
        raise InputError(f"{path}: cannot be used as a motion file: {error}") from None
    # ValueError: a member's name that is no text.
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as a motion file ({error}); make it again") from None


def _read_json(path: Path) -> dict[str, Any]:
    if path.stat().st_size > MAX_FILE:
        raise InputError("it is larger than 1 GB; use .npz for long motions")
    try:
        data = read_json(path.read_text(encoding="utf-8"))
    except ValueError:
        raise InputError("it is not JSON; make one with `reenact extract`") from None
    if not isinstance(data, dict):
        raise InputError("it does not hold the keys of a motion; make one with `reenact extract`")
    if isinstance(data.get("points"), list):
        nothing = [[np.nan, np.nan]] * N_POINTS
        data["points"] = [nothing if frame is None else frame for frame in data["points"]]
    try:
        return {key: np.asarray(data[key]) for key in (*REQUIRED, *OPTIONAL) if key in data}
    except ValueError:
        raise InputError("its lists are not all of one length") from None


def _read_npz(path: Path) -> dict[str, Any]:
    if not zipfile.is_zipfile(path):
        raise InputError("it is not an .npz file; make one with `reenact extract`")
    with zipfile.ZipFile(path) as archive:
        members = {name.removesuffix(".npy"): name for name in archive.namelist()}
        most = (64 << 20) + _UNPACKED * path.stat().st_size
        return {key: _read_array(archive, members[key], key, most) for key in (*REQUIRED, *OPTIONAL) if key in members}


def _read_array(archive: zipfile.ZipFile, member: str, key: str, most: int) -> np.ndarray:
    """One array of `most` bytes; its header is looked at first, so that neither a pickle nor a zip bomb is unpacked."""
    try:
        with archive.open(member) as file:
            version = np.lib.format.read_magic(file)
            header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = header(file)
            if dtype.hasobject:
                raise InputError(f"{key} holds pickled objects, which are never loaded")
            numbers = int(np.prod([*shape, 1], dtype=object))
            large = dtype.itemsize > (MAX_TEXT if dtype.kind in "US" else 16) or numbers > MAX_FRAMES * N_POINTS * 2
            if large or numbers * dtype.itemsize > most:
                raise InputError(f"{key} is absurdly large: {shape} of {dtype}")
        with archive.open(member) as file:
            return np.lib.format.read_array(file, allow_pickle=False)
    # numpy reads headers as Python literals; from 3.12 on nonsense there is a TokenError.
    except (ValueError, MemoryError, SyntaxError, tokenize.TokenError) as error:
        raise InputError(f"{key} is damaged ({error})") from None


def _numbers(data: dict[str, Any], key: str, shape: tuple[int, ...], dtype: type) -> np.ndarray:
    """data[key], of that shape and type. Raises InputError otherwise."""
    value = np.asarray(data[key])
    if value.shape != shape:
        raise InputError(f"{key} has shape {value.shape}, it should be {shape}")
    whole = np.issubdtype(dtype, np.integer)
    if value.size and value.dtype.kind not in ("iu" if whole else "iuf"):
        raise InputError(f"{key} holds {value.dtype} values, it should hold {'whole numbers' if whole else 'numbers'}")
    return value.astype(dtype)


def _ratio(data: dict[str, Any], key: str) -> Fraction:
    top, bottom = (int(number) for number in _numbers(data, key, (2,), np.int64))
    if not (0 < top <= MAX_RATIO and 0 < bottom <= MAX_RATIO):
        raise InputError(f"{key} is {top}/{bottom}, both should be above 0 and below 2^31")
    return Fraction(top, bottom)


def _build(data: dict[str, Any], path: Path) -> Motion:
    """A Motion of what was read, every value checked."""
    missing = [key for key in REQUIRED if key not in data]
    if missing:
        raise InputError(f"it has no {', '.join(missing)}; make one with `reenact extract`")
    _check_schema(str(data["schema"]))
    shape = np.asarray(data["points"]).shape
    frames = shape[0] if shape else 0
    if len(shape) != 3 or frames < 1:
        raise InputError(f"points have shape {shape}, it should be (frames, {N_POINTS}, 2)")
    if frames > MAX_FRAMES:
        raise InputError(f"it has {frames} frames, more than {MAX_FRAMES}")
    points = _numbers(data, "points", (frames, N_POINTS, 2), np.float32)
    confidence = _numbers(data, "confidence", (frames,), np.float32)
    times = _numbers(data, "timestamps", (frames,), np.float64)
    width, height = (int(side) for side in _numbers(data, "size", (2,), np.int64))
    rate = float(_numbers(data, "fps", (), np.float64))
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
        raise InputError(f"size is {width}x{height} pixels, sides should be 1 to {MAX_SIDE}")
    if not SLOWEST <= rate <= FASTEST:
        raise InputError(f"fps is {rate:g}, it should be {SLOWEST:g} to {FASTEST}")
    if not ((confidence >= 0) & (confidence <= 1)).all():
        raise InputError("confidence should lie in 0..1")
    if not np.isfinite(times).all() or (np.diff(times) <= 0).any():
        raise InputError("timestamps should be seconds that increase from frame to frame")
    gone = np.isnan(points).any((1, 2))
    if gone.all():
        raise InputError("no frame of it has a face")
    if not (np.abs(points[~gone]) < 20 * max(width, height)).all():
        raise InputError("points lie far outside the picture")
    if not (eye_distance(points[~gone]) >= SMALLEST_FACE).all():
        raise InputError(f"a face of it is under {SMALLEST_FACE:g} pixel wide; nothing can be measured on it")
    points[gone], confidence[gone] = np.nan, 0
    fps = _ratio(data, "fps_ratio") if "fps_ratio" in data else Fraction(rate).limit_denominator(1001)
    if abs(float(fps) - rate) > 0.01 * rate:
        raise InputError(f"fps is {rate:g} and fps_ratio is {fps}; they should be the same")
    pts, time_base = _clock(data, times)
    if times[0] < 0:  # what begins below zero would be cut off by players
        times, pts = times - times[0], pts - pts[0]
    cuts = np.asarray(data.get("cuts", []))
    cuts = _numbers({"cuts": cuts}, "cuts", (cuts.size,), np.int64)
    if cuts.size and (cuts[0] < 1 or cuts[-1] >= frames or (np.diff(cuts) <= 0).any()):
        raise InputError("cuts should be ascending frame numbers inside the motion")
    source = str(data.get("source", "")) or path.name
    return Motion(points, confidence, times, pts, time_base, fps, (width, height), cuts.tolist(), source)


def _clock(data: dict[str, Any], times: np.ndarray) -> tuple[np.ndarray, Fraction]:
    """pts (frames,) and their unit; made from the timestamps where the file has none, to a 90,000th of a second."""
    if "pts" not in data or "time_base" not in data:
        time_base = Fraction(1, 90_000)
        pts = np.round(times / float(time_base)).astype(np.int64)
    else:
        pts, time_base = _numbers(data, "pts", times.shape, np.int64), _ratio(data, "time_base")
    if (np.diff(pts) <= 0).any():
        raise InputError("pts should increase from frame to frame")
    if np.abs(np.diff(times) - np.diff(pts) * float(time_base)).max(initial=0) > _SAME_STEP:
        raise InputError("pts and timestamps tell different times; leave out pts and time_base, or make them agree")
    return pts, time_base


def _check_schema(schema: str) -> None:
    kind, _, version = schema[:80].rpartition("/")
    if kind + "/" != SCHEMA or not (version.isascii() and version.isdigit()):
        raise InputError(f"its schema is {schema[:40]!r}, not {SCHEMA}{VERSION}")
    if int(version) > VERSION:
        raise InputError(f"it was made by a newer version (schema {version}, this one reads {VERSION}): upgrade")
