"""A video (or a motion) as a driver: how often there is a face, how far it turns, cuts, frame rate, sound."""

import numpy as np

from fewshot_reenact.checks import limits
from fewshot_reenact.checks.portrait import face_size, faces_found
from fewshot_reenact.checks.report import GOOD, POOR, USABLE, VERDICTS, Finding, Report
from fewshot_reenact.geometry.solid import fit_track
from fewshot_reenact.geometry.topology import eye_distance
from fewshot_reenact.inputs.driver import Driver, DriverSource
from fewshot_reenact.inputs.portrait import Portrait
from fewshot_reenact.landmarks.backend import LandmarkBackend
from fewshot_reenact.media.timestamps import is_variable
from fewshot_reenact.motion.motion import Motion
from fewshot_reenact.motion.retarget import Retargeting
from fewshot_reenact.progress import Count
from fewshot_reenact.rendering.plan import plan_motion

_SMOOTH = 0.5  # as animate does where nothing else is asked for


def check_driver(
    source: DriverSource, backend: LandmarkBackend, progress: Count | None = None, portrait: Portrait | None = None
) -> tuple[Report, Driver]:
    """Look at a whole video or motion file. portrait: the one that it is to drive, None: nothing is said of that.
    Returns the report and the driver that was measured.

    Raises InputError when it cannot be read or shows no face at all.
    """
    driver = source.measure(backend, progress)
    motion = driver.motion
    points = motion.points[motion.found].astype(np.float64)
    findings = [
        _found(motion),
        *([faces_found(motion.most_faces, "at once", source.face)] if driver.source.is_video else []),
        face_size(float(np.median(eye_distance(points)))),
        _poses(points),
        *([] if portrait is None else _beyond(motion, portrait)),
        _cuts(motion),
        _rate(motion),
        *([_sound(driver)] if driver.source.is_video else []),
        *_notes(motion),
    ]
    return Report(source.given, "driver", motion.size, findings), driver


# What was noticed while the driver was measured, by words of the note: (name, words, verdict).
_NOTED = (
    ("damage", "is damaged", USABLE),
    ("orientation", "lies on its", USABLE),
    ("stillness", "never moves", USABLE),
    ("larger face", "becomes larger", USABLE),
    ("covered", "something covers", USABLE),
    ("always covered", "all along", POOR),
    ("cut off", "is cut off", USABLE),
)


def _notes(motion: Motion) -> list[Finding]:
    return [
        Finding(name, note, "yes", verdict, note)
        for note in motion.notes
        for name, words, verdict in _NOTED
        if words in note
    ]


def _found(motion: Motion) -> Finding:
    count, share = int(motion.found.sum()), float(motion.found.mean())
    spans = motion.missing_spans()
    missing = ", ".join(f"{a:.1f}-{b:.1f} s" for a, b in spans[:3]) + (" and more" if len(spans) > 3 else "")
    return Finding(
        "frames with face",
        {"found": count, "frames": len(motion), "share": round(share, 4)},
        f"{count} of {len(motion)} ({100 * share:.0f} %), {_length(motion):.1f} s",
        limits.FOUND(share),
        f"none at {missing}: the motion is held there; cut with --start and --end" if missing else "",
    )


def _poses(points: np.ndarray) -> Finding:
    """How far the head turns in 98 % of the frames; single frames may be mistakes."""
    low, high = np.percentile(fit_track(points).angles, [1, 99], axis=0)
    names = ("yaw", "pitch", "roll")
    verdicts = [
        bound(float(max(-a, b)))
        for bound, a, b in zip((limits.DRIVER_YAW, limits.DRIVER_PITCH), low, high, strict=False)
    ]
    verdict = max(verdicts, key=VERDICTS.index)
    return Finding(
        "pose range",
        {name: [round(float(a), 1), round(float(b), 1)] for name, a, b in zip(names, low, high, strict=True)},
        ", ".join(f"{name} {a:+.0f} to {b:+.0f}" for name, a, b in zip(names, low, high, strict=True)) + " degrees",
        verdict,
        "" if verdict == GOOD else "the head turns far: there the points are less exact",
    )


def _beyond(motion: Motion, portrait: Portrait) -> list[Finding]:
    """What of the motion this portrait cannot show, see motion.bounds."""
    bounds = plan_motion(motion, portrait, Retargeting(), _SMOOTH).bounds
    farthest = float(bounds.turned.max())
    turns = _unshown("turns beyond", bounds.beyond, f"up to {farthest:.0f} degrees from its own view", bounds.of_turns)
    turns.value["farthest"] = round(farthest, 1)
    way = "beyond the room about its head" if bounds.farther.any() else ""
    return [turns, _unshown("goes beyond", bounds.farther, way, bounds.of_ways)]


def _unshown(name: str, frames: np.ndarray, how: str, advice: str) -> Finding:
    """frames: (T,) bool, those that the portrait cannot show."""
    count, share = int(frames.sum()), float(frames.mean())
    told = f"{count} of {len(frames)} frames" + (f", {how}" if how else "")
    value = {"frames": count, "of": len(frames), "share": round(share, 4)}
    return Finding(name, value, told, limits.BEYOND(share), advice)


def _cuts(motion: Motion) -> Finding:
    verdict = limits.CUTS(len(motion.cuts))
    times = ", ".join(f"{motion.times[cut]:.1f} s" for cut in motion.cuts[:5])
    advice = f"at {times}: the head may jump there; use one shot (--start, --end)" if motion.cuts else ""
    at = [round(float(motion.times[cut]), 3) for cut in motion.cuts]
    return Finding("cuts", at, str(len(motion.cuts)), verdict, advice)


def _rate(motion: Motion) -> Finding:
    variable = is_variable((int(tick) for tick in motion.pts), motion.time_base)
    verdict = limits.FPS(float(motion.fps)) if len(motion) > 1 else GOOD
    advice = "" if verdict == GOOD else "few frames a second: blinks and lips jump; use a video with 25 or more"
    return Finding(
        "frame rate",
        {"fps": str(motion.fps), "variable": variable},
        f"{float(motion.fps):.3f} fps, {'variable: every time stamp is kept' if variable else 'constant'}",
        verdict,
        advice,
    )


def _sound(driver: Driver) -> Finding:
    sound = driver.audio_from is not None
    return Finding("sound", sound, "yes" if sound else "none; the result will have none")


def _length(motion: Motion) -> float:
    return float(motion.times[-1] - motion.times[0] + 1 / motion.fps)
