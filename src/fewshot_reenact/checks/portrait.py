"""A picture as a portrait: the face's size, sharpness, pose, what covers it, eyes and mouth."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from fewshot_reenact.checks import limits, measures
from fewshot_reenact.checks.report import GOOD, POOR, UNUSABLE, USABLE, VERDICTS, Finding, Report
from fewshot_reenact.geometry.solid import fit_head
from fewshot_reenact.geometry.topology import eye_distance
from fewshot_reenact.inputs.portrait import Portrait
from fewshot_reenact.landmarks.backend import Face, LandmarkBackend, look_closely
from fewshot_reenact.landmarks.selection import LARGEST, FaceChoice, choose_face, no_face
from fewshot_reenact.landmarks.upright import how_it_lies, quarter_turns, turned
from fewshot_reenact.media.pictures import read_picture


def check_portrait(path: Path, backend: LandmarkBackend, face: FaceChoice = LARGEST) -> tuple[Report, Face | None]:
    """Look at a picture. Returns the report and the face that was looked at, None where there is none.

    Raises InputError when it cannot be read.
    """
    picture = read_picture(path)
    faces = backend.detect(picture)
    turn = quarter_turns(picture, faces, backend, face)
    if turn:
        picture = turned(picture, turn)
        faces = backend.detect(picture)
    return _check(path, picture, turn, faces, backend, face)


def what_is_poor(name: str, portrait: Portrait, backend: LandmarkBackend) -> list[str]:
    """What a check finds poor or worse in a portrait that has been read, as one line for whoever animates it."""
    points = np.asarray(portrait.points, np.float32)
    bad = [
        one.advice
        for one in _look(portrait.picture, points, 1.0, backend)
        if one.advice and VERDICTS.index(one.verdict) >= VERDICTS.index(POOR)
    ]
    return [f"{name}: {'; '.join(bad)} (`reenact check` tells more)"] if bad else []


def _check(
    path: Path, picture: np.ndarray, turn: int, faces: list[Face], backend: LandmarkBackend, face: FaceChoice
) -> tuple[Report, Face | None]:
    size = (picture.shape[1], picture.shape[0])
    chosen = choose_face(faces, face)
    if chosen is None:
        missing = str(no_face(path.name, "the picture", face, len(faces))).removeprefix(f"{path.name}: ")
        finding = Finding("faces", len(faces), str(len(faces)), UNUSABLE, missing)
        return Report(str(path), "portrait", size, [finding]), None
    chosen = backend.refine(picture, chosen.points) or chosen
    chosen = replace(chosen, points=look_closely(backend, picture, chosen.points))
    points = chosen.points
    findings = [
        faces_found(len(faces), "in the picture", face),
        *([_lying(turn)] if turn else []),
        *_look(picture, points, chosen.confidence, backend),
    ]
    return Report(str(path), "portrait", size, findings), chosen


def _look(picture: np.ndarray, points: np.ndarray, confidence: float, backend: LandmarkBackend) -> list[Finding]:
    """Everything that is measured of one face."""
    return [
        face_size(float(eye_distance(points))),
        _sharpness(picture, points),
        _pose(points),
        *_covered(picture, points, confidence, backend),
        *_eyes_and_mouth(points),
        _cut_off(points, (picture.shape[1], picture.shape[0])),
    ]


def _lying(turn: int) -> Finding:
    return Finding(
        "orientation", turn, f"{90 * turn} degrees", USABLE, f"{how_it_lies(turn)}; it is used turned upright"
    )


def faces_found(count: int, where: str, face: FaceChoice) -> Finding:
    """How many faces there are. Several are no fault where the user has said which is meant."""
    chosen = face != LARGEST
    verdict = limits.FACES(1 if chosen else count)
    advice = "" if count == 1 or chosen else f"several faces {where}: the largest is taken, choose with --face N"
    return Finding("faces", count, str(count), verdict, advice)


def face_size(pixels: float) -> Finding:
    """The distance of the outer eye corners."""
    verdict = limits.FACE_SIZE(pixels)
    advice = {
        "usable": "a larger picture of the face gives finer skin and steadier points",
        "poor": "few pixels: use the original file or come nearer; enlarging it does not help",
        "unusable": "too few pixels for points that can be trusted: use a larger picture of the face",
    }
    return Finding("face size", round(pixels, 1), f"{pixels:.0f} px between the eyes", verdict, advice.get(verdict, ""))


def _sharpness(picture: np.ndarray, points: np.ndarray) -> Finding:
    value = measures.sharpness(picture, points)
    verdict = limits.SHARPNESS(value)
    advice = {
        "usable": "slightly soft (focus, movement, compression or few pixels); so will be the result",
        "poor": "blurred: use a sharper picture; sharpening filters do not help",
        "unusable": "so blurred that the points are guesses: use a sharper picture",
    }
    return Finding("sharpness", round(value, 3), f"{value:.2f}", verdict, advice.get(verdict, ""))


def _pose(points: np.ndarray) -> Finding:
    yaw, pitch, roll = (float(v) for v in fit_head(points).angles)
    verdicts = {"yaw": limits.YAW(abs(yaw)), "pitch": limits.PITCH(abs(pitch)), "roll": limits.ROLL(abs(roll))}
    advice = {
        "yaw": "the head is turned to the side: use a picture from the front, or add one with -p",
        "pitch": "the head is raised or bowed: use a picture at the level of the eyes",
        "roll": "the head lies on its side: turn the picture upright",
    }
    most = max(verdicts, key=lambda name: VERDICTS.index(verdicts[name]))
    return Finding(
        "pose",
        {"yaw": round(yaw, 1), "pitch": round(pitch, 1), "roll": round(roll, 1)},
        f"yaw {yaw:+.0f}, pitch {pitch:+.0f}, roll {roll:+.0f} degrees",
        verdicts[most],
        advice[most] if verdicts[most] != GOOD else "",
    )


def _covered(picture: np.ndarray, points: np.ndarray, confidence: float, backend: LandmarkBackend) -> list[Finding]:
    """Whether something covers the face: guesses from colour and from how sure the points are."""
    colour, place = measures.odd_colour(picture, points)
    verdict = limits.SKIN_COLOUR(colour)
    odd = Finding(
        "skin colour",
        {"worst": round(colour, 1), "place": place},
        f"{colour:.0f} off the face's usual colour at the {place}",
        verdict,
        ""
        if verdict == GOOD
        else f"something may cover the {place} (mask, microphone, scarf; a beard, coloured light)",
    )
    verdict = limits.CONFIDENCE(confidence)
    sure = Finding(
        "point confidence",
        round(confidence, 4),
        f"{confidence:.3f}",
        verdict,
        "" if verdict == GOOD else "the points are not certain: covered, dim, blurred or an unusual picture",
    )
    moved = measures.agreement(picture, points, backend)
    if moved is None:
        advice = "looked at again from a little aside, no face is found: covered, cut off, or hardly a face"
        return [odd, sure, Finding("point agreement", None, "none", POOR, advice)]
    far, region = moved
    verdict = limits.AGREEMENT(far)
    where = region.replace("_", " ")
    return [
        odd,
        sure,
        Finding(
            "point agreement",
            {"worst": round(far, 4), "region": region},
            f"{100 * far:.1f} % of the eye distance at the {where}",
            verdict,
            ""
            if verdict == GOOD
            else f"points uncertain there: a hand, hair, a mask, glasses or deep shade may cover the {where}",
        ),
    ]


def _eyes_and_mouth(points: np.ndarray) -> list[Finding]:
    eyes, mouth = measures.openings(points)
    of_eyes, of_mouth = limits.EYES(eyes), limits.MOUTH(mouth)
    for_eyes = {
        "usable": "half closed: a picture with open eyes gives more to show",
        "poor": "closed: what is behind the lids is in no picture; use one with open eyes",
    }
    for_mouth = {
        "usable": "a little open: closed lips serve best",
        "poor": "wide open: teeth and lips are squeezed when it closes; use one with closed lips",
    }
    return [
        Finding(
            "eyes", round(eyes, 3), f"open by {max(eyes, 0):.2f} of their width", of_eyes, for_eyes.get(of_eyes, "")
        ),
        Finding(
            "mouth", round(mouth, 3), f"open by {max(mouth, 0):.2f} of its width", of_mouth, for_mouth.get(of_mouth, "")
        ),
    ]


def _cut_off(points: np.ndarray, size: tuple[int, int]) -> Finding:
    outside = measures.cut_off(points, size)
    verdict = limits.CUT_OFF(outside)
    advice = "" if verdict == GOOD else "the picture's edge cuts the face: use one with space about the head"
    shown = f"{100 * (1 - outside):.0f} % of the points inside the picture"
    return Finding("framing", round(outside, 3), shown, verdict, advice)
