"""`reenact check`: what is measured, the limits, and the command from end to end."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from animate_samples import FACE, complaint, face_picture, film, names_in, portrait_file, run
from fake_face import PaintedFaces, paint
from fewshot_reenact.checks import limits, measures
from fewshot_reenact.checks.files import check
from fewshot_reenact.checks.report import GOOD, POOR, UNUSABLE, USABLE, Finding, Report
from fewshot_reenact.errors import InputError, UsageError
from fewshot_reenact.geometry.pose import head_pose
from fewshot_reenact.geometry.rotation import rotation_from
from fewshot_reenact.geometry.solid import HeadPose, head_shapes
from fewshot_reenact.geometry.topology import mirror
from fewshot_reenact.landmarks import registry
from fewshot_reenact.media.pictures import read_picture
from fewshot_reenact.motion.builtins import load_builtin_motion
from fewshot_reenact.motion.files import save_motion
from painted_clips import face_points, paint_face


@pytest.fixture
def painted(monkeypatch):
    """The built-in backend reads painted faces."""
    monkeypatch.setitem(registry.BACKENDS, "builtin", lambda device: PaintedFaces())


def findings(report: Report) -> dict[str, Finding]:
    return {one.name: one for one in report.findings}


# What is measured


def test_pose_of_the_mean_face_and_of_turned_ones():
    level = face_points(200)
    yaw, pitch, roll = head_pose(level)
    assert abs(yaw) < 1 and abs(roll) < 0.5 and abs(pitch) < 6
    assert head_pose(face_points(200, angle=0.3))[2] == pytest.approx(np.degrees(0.3), abs=0.5)
    aside = level.copy()
    aside[27:36] += [6, 0]  # the nose stands off to the right
    assert head_pose(aside)[0] > 8
    assert head_pose(mirror(aside, 200))[0] == pytest.approx(-head_pose(aside)[0], abs=0.1)
    bowed = level.copy()
    bowed[27:36] += [0, 6]
    assert head_pose(bowed)[1] < pitch - 5
    assert head_pose(3 * aside + 17) == pytest.approx(head_pose(aside), abs=0.01)
    assert head_pose(np.stack([level, aside])).shape == (2, 3)


def test_sharpness_falls_with_blur_whatever_the_size():
    points = face_points(400)
    picture = paint_face(points, 400, seed=3)
    noise = np.random.default_rng(0).integers(0, 60, (400, 400, 1), np.uint8)
    picture = np.clip(picture.astype(int) + cv2.GaussianBlur(noise, (0, 0), 1.2)[..., None], 0, 255).astype(np.uint8)
    unit = np.linalg.norm(points[45] - points[36])
    values = [measures.sharpness(picture, points)]
    values += [measures.sharpness(cv2.GaussianBlur(picture, (0, 0), s * unit), points) for s in (0.02, 0.04, 0.08)]
    assert values == sorted(values, reverse=True) and values[0] > 2 * values[-1]
    large = cv2.resize(picture, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    assert measures.sharpness(large, 2 * points + 0.5) == pytest.approx(values[0], rel=0.1)


class Guessing(PaintedFaces):
    """Points that depend on where one looks, by so much of the distance; with None it finds nothing the second time."""

    def __init__(self, share: float | None) -> None:
        super().__init__()
        self.share = share

    def refine(self, picture, points):
        face = super().refine(picture, points)
        if self.share is None or face is None:
            return None
        moved = face.points.copy()
        moved[48:68] += self.share * (points[48:68] - moved[48:68])
        return replace(face, points=moved)


def test_points_that_change_with_the_view_are_told_with_their_region():
    picture = paint(FACE)
    points = PaintedFaces().detect(picture)[0].points
    steady = measures.agreement(picture, points, Guessing(0.0))
    assert steady is not None and steady[0] < 1e-5
    loose = measures.agreement(picture, points, Guessing(1.0))
    assert loose is not None and loose[0] > 0.02 and loose[1] == "mouth"
    assert measures.agreement(picture, points, Guessing(None)) is None


def test_a_patch_of_another_colour_is_told_with_its_place_whatever_the_brightness():
    points = face_points(300)
    bare = np.full((300, 300, 3), (200, 150, 120), np.uint8)
    bare[:150] = bare[:150] * 0.6  # in the shade
    assert limits.SKIN_COLOUR(measures.odd_colour(bare, points)[0]) == GOOD
    covered = bare.copy()
    x, y = points[[57, 8]].mean(0).astype(int)
    covered[y - 20 : y + 20, x - 20 : x + 20] = (110, 170, 220)
    far, place = measures.odd_colour(covered, points)
    assert place == "chin" and limits.SKIN_COLOUR(far) in (USABLE, POOR)
    grey = np.repeat(covered.mean(2, keepdims=True).astype(np.uint8), 3, 2)
    assert measures.odd_colour(grey, points)[0] < 1
    assert measures.odd_colour(covered, points + 1000) == (0.0, "face")


def test_eyes_and_mouth_open_and_closed():
    eyes, mouth = measures.openings(face_points(300))
    assert limits.EYES(eyes) == GOOD and limits.MOUTH(mouth) != POOR
    assert limits.EYES(measures.openings(face_points(300, closed=1.0))[0]) == POOR
    assert limits.MOUTH(measures.openings(face_points(300, opened=0.3))[1]) == POOR


def test_share_of_points_outside_the_picture():
    points = face_points(100)
    assert measures.cut_off(points, (100, 100)) == 0
    half = measures.cut_off(points - [50, 0], (100, 100))
    assert 0.3 < half < 0.7 and limits.CUT_OFF(half) == POOR


def test_limits_in_both_directions():
    most, least = limits.Limit(1, 2, 3), limits.Limit(3, 2, 1, least=True)
    assert [most(v) for v in (1, 1.5, 2.5, 3.5)] == [GOOD, USABLE, POOR, UNUSABLE]
    assert [least(v) for v in (3, 2.5, 1.5, 0.5)] == [GOOD, USABLE, POOR, UNUSABLE]
    assert limits.Limit(1, 2)(99) == POOR


# Portraits


def test_a_portrait_has_the_worst_of_its_findings(painted, tmp_path):
    file = portrait_file(tmp_path / "a.png", scale=3)
    (report,) = check([file])
    found = findings(report)
    assert (report.kind, report.size) == ("portrait", (480, 360))
    assert set(found) == {
        *(
            "faces",
            "face size",
            "sharpness",
            "pose",
            "skin colour",
            "point confidence",
            "point agreement",
            "eyes",
            "mouth",
            "framing",
        )
    }
    order = [GOOD, USABLE, POOR, UNUSABLE]
    assert report.verdict == max((one.verdict for one in report.findings), key=order.index)
    assert all(one.advice for one in report.findings if one.verdict != GOOD)


def test_a_small_face_is_unusable_and_says_what_to_do(painted, tmp_path):
    file = portrait_file(tmp_path / "small.png", (70, 50, 15, 18))
    result = run("check", file)
    assert result.exit_code == 3
    assert f"{file} (portrait, 160x120): unusable" in result.stdout
    assert "use a larger picture" in result.stdout and not result.stderr


def test_several_faces_are_told_unless_one_is_chosen(painted, tmp_path):
    file = tmp_path / "two.png"
    cv2.imwrite(str(file), face_picture((10, 30, 60, 70), (90, 40, 50, 60))[..., ::-1])
    one, two = findings(check([file])[0]), findings(check([file], face=2)[0])
    assert one["faces"].value == 2 and one["faces"].verdict == USABLE and "--face" in one["faces"].advice
    assert two["faces"].verdict == GOOD
    assert two["face size"].value < one["face size"].value
    missing = check([file], face=3)[0]
    assert missing.verdict == UNUSABLE and "--face 1 to 2" in findings(missing)["faces"].advice


def test_files_that_cannot_be_used_do_not_hide_the_others(painted, tmp_path):
    good, empty = portrait_file(tmp_path / "a.png", scale=3), tmp_path / "empty.png"
    cv2.imwrite(str(empty), np.full((80, 80, 3), 40, np.uint8))
    text = tmp_path / "text.mp4"
    text.write_text("no video")
    result = run("check", empty, tmp_path / "none.mp4", text, good, "--json", "-")
    assert result.exit_code == 3
    told = json.loads(result.stdout)
    assert told["schema"] == "fewshot-reenact/check/1" and told["verdict"] == UNUSABLE
    assert [file["verdict"] for file in told["files"][:3]] == [UNUSABLE] * 3
    assert told["files"][3]["verdict"] != UNUSABLE
    assert "no face" in told["files"][0]["findings"]["faces"]["advice"]
    assert "no such file" in told["files"][1]["findings"]["input"]["advice"]
    assert "Traceback" not in result.output


def test_the_annotated_picture_is_written_once(painted, tmp_path):
    file, out = portrait_file(tmp_path / "a.png", scale=3), tmp_path / "seen.png"
    assert run("check", file, "--picture", out).exit_code == 0
    shown = read_picture(out)
    assert shown.shape[0] == 480 and shown.shape[1] > 960
    before = out.read_bytes()
    assert "--overwrite" in complaint(run("check", file, "--picture", out), 2)
    assert out.read_bytes() == before
    assert run("check", file, "--picture", out, "--overwrite").exit_code == 0
    assert "input" in complaint(run("check", file, "--picture", file, "--overwrite"), 2)
    assert names_in(tmp_path) == ["a.png", "seen.png"]


def test_the_annotated_picture_leaves_no_file_out(painted, tmp_path):
    good, bad, out = portrait_file(tmp_path / "a.png", scale=3), tmp_path / "bad.png", tmp_path / "seen.png"
    bad.write_text("no picture")
    assert run("check", bad, good, "--picture", out).exit_code == 3
    shown = read_picture(out)
    assert shown.shape[0] == 2 * 480
    assert shown[:480, :480].max() < 200 < shown[480:, :480].max(), "nothing is seen of the first, but why"
    assert shown[:480, 480:].max() > 200


def test_what_makes_no_sense_is_a_usage_error(painted, tmp_path):
    file = portrait_file(tmp_path / "a.png")
    assert "8 files" in complaint(run("check", *[file] * 9, "--picture", tmp_path / "p.png"), 2)
    assert ".png" in complaint(run("check", file, "--picture", tmp_path / "p.gif"), 2)
    assert "face" in complaint(run("check", file, "--face", "left"), 2)
    assert run("check").exit_code == 2
    with pytest.raises(UsageError):
        check([])


# Drivers


def test_a_driver_and_what_it_lacks(painted, tmp_path):
    walk = [[(40 + t, 30, 60, 70)] for t in range(20)]
    walk[8:12] = [[]] * 4
    walk[15] = walk[14] = [*walk[15], (5, 5, 25, 30)]
    file = film(tmp_path / "talk.mp4", walk, sound=True)
    (report,) = check([file])
    found = findings(report)
    assert report.kind == "driver" and report.size == (160, 120)
    assert found["frames with face"].value == {"found": 16, "frames": 20, "share": 0.8}
    assert found["frames with face"].verdict == POOR and "0.3-0.4 s" in found["frames with face"].advice
    assert found["frame rate"].value == {"fps": "30000/1001", "variable": False}
    assert found["sound"].value is True and found["cuts"].value == []
    assert list(found["pose range"].value) == ["yaw", "pitch", "roll"]


def test_sound_rate_and_several_faces_of_a_driver(painted, tmp_path):
    both = [[(20, 30, 50, 60), (95, 40, 40, 50)]] * 6
    file = film(tmp_path / "two.mp4", both, pts=[0, 1001, 5005, 6006, 9009, 10010])
    found = findings(check([file])[0])
    assert found["faces"].value == 2 and found["faces"].verdict == USABLE
    assert found["frame rate"].value["variable"] is True
    assert found["sound"].value is False


def test_a_driver_without_a_face_is_unusable(painted, tmp_path):
    file, out = film(tmp_path / "empty.mp4", [[]] * 4), tmp_path / "seen.png"
    result = run("check", file, "--picture", out)
    assert result.exit_code == 3 and "no face was found" in result.stdout
    assert not out.exists()


def test_the_annotated_picture_of_a_driver_shows_several_frames(painted, tmp_path):
    file, out = film(tmp_path / "talk.mp4", [[(40 + t, 30, 60, 70)] for t in range(9)]), tmp_path / "seen.png"
    assert run("check", file, "--picture", out).exit_code == 0
    assert read_picture(out).shape[1] > 3 * 480
    assert run("check", "motion:blink", "--picture", out, "--overwrite").exit_code == 0


# The real extractor


def test_bundled_portraits_are_usable_and_blurred_ones_are_not(assets, tmp_path):
    backend = registry.load_backend()
    files = [assets / "astronaut.jpg", assets / "grace_hopper.jpg"]
    for report in check(files, landmarks=backend):
        assert report.verdict in (GOOD, USABLE), report.in_words()
        assert findings(report)["sharpness"].verdict == GOOD
    picture = read_picture(files[0])
    file = tmp_path / "blurred.png"
    cv2.imwrite(str(file), cv2.GaussianBlur(picture, (0, 0), 4)[..., ::-1])
    blurred = findings(check([file], landmarks=backend)[0])
    assert blurred["sharpness"].verdict in (POOR, UNUSABLE)


def turning(angles: list[float], folder: Path) -> Path:
    """A motion file of a head that turns by these yaws."""
    rotation = rotation_from(np.array([[yaw, 0, 0] for yaw in angles], float))
    zeros = [np.zeros(len(modes)) for modes in (head_shapes().identity, head_shapes().expression)]
    count = len(angles)
    pose = HeadPose(
        rotation, np.full(count, 40.0), np.tile([100.0, 90.0], (count, 1)), zeros[0], np.tile(zeros[1], (count, 1))
    )
    motion = load_builtin_motion("nod").slice(end=(count - 0.5) / 25)
    motion = replace(motion, points=pose.placed()[..., :2].astype(np.float32), size=(200, 200))
    save_motion(motion, folder / "turning.npz", overwrite=True)
    return folder / "turning.npz"


def test_how_far_a_driver_goes_beyond_a_portrait(painted, tmp_path):
    """The turns are counted from the portrait's own view, as animate counts them."""
    picture = portrait_file(tmp_path / "ann.png")
    for yaws, beyond in (([0, 5, 10, 20], 0), ([0, 10, 55, 60], 2)):
        file = turning(yaws, tmp_path)
        found = findings(check([file], portrait=picture)[0])
        assert found["turns beyond"].value["frames"] == beyond and found["goes beyond"].value["frames"] == 0
        assert ("40 degrees" in found["turns beyond"].advice) == (beyond > 0)
        assert found["turns beyond"].verdict == ("poor" if beyond else "good")
    assert "turns beyond" not in findings(check([file])[0])
    with pytest.raises(InputError, match="no such file"):
        check([file], portrait=tmp_path / "none.png")
