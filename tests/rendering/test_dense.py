"""The driver's dense motion: what is measured, where it is not believed, and what it does to what is rendered."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from animate_samples import frames_of, run
from fake_face import PaintedFaces
from fewshot_reenact.errors import InputError
from fewshot_reenact.geometry.affine import invert
from fewshot_reenact.geometry.face_frame import face_frame
from fewshot_reenact.geometry.head_crop import head_box
from fewshot_reenact.geometry.shape import place, take_out, turned
from fewshot_reenact.inputs.portrait import Portrait
from fewshot_reenact.landmarks import registry
from fewshot_reenact.media.writer import VideoWriter
from fewshot_reenact.motion.bounds import Bounds
from fewshot_reenact.motion.heads import HeadMotion, lift
from fewshot_reenact.motion.motion import Motion
from fewshot_reenact.motion.retarget import Retargeting
from fewshot_reenact.rendering.dense_motion import DenseMotion, ShiftMeter, dense_motion_at, presence
from fewshot_reenact.rendering.flow import face_flow, picture_box, to_signed
from fewshot_reenact.rendering.plan import Plan, plan_motion
from fewshot_reenact.rendering.registration import dense_motion, register
from fewshot_reenact.rendering.textured import TexturedRenderer
from fewshot_reenact.rendering.warp import sample
from fewshot_reenact.training.batch import make_inputs
from fewshot_reenact.training.config import TrainConfig
from fewshot_reenact.training.data.clips import load_clips
from fewshot_reenact.training.data.episodes import Episodes
from network_samples import model
from painted_clips import face_points, paint_face, write_clip

SIDE, SIZE = 128, 240
pytestmark = pytest.mark.usefixtures("one_thread")
POINTS = face_points(SIZE)


def textured(points: np.ndarray = POINTS) -> np.ndarray:
    """A painted face with freckles, so that skin can be followed."""
    picture = paint_face(points, SIZE).astype(np.float32)
    noise = np.random.default_rng(0).normal(0, 1, (SIZE, SIZE, 1)).astype(np.float32)
    return np.clip(picture + 300 * cv2.GaussianBlur(noise, (0, 0), 2.0)[..., None], 0, 255).astype(np.uint8)


def bulged(picture: np.ndarray, by: float) -> np.ndarray:
    """One cheek moved to the right by so many pixels; the points stay where they are."""
    place = POINTS[[3, 31]].mean(0)
    y, x = np.mgrid[:SIZE, :SIZE].astype(np.float32)
    near = np.exp(-((x - place[0]) ** 2 + (y - place[1]) ** 2) / (2 * 24.0**2)).astype(np.float32)
    return cv2.remap(picture, x - by * near, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


def at_cheek(shift: np.ndarray) -> np.ndarray:
    """The shift (2, S, S) at the middle of that cheek, in picture pixels."""
    frame = face_frame(POINTS, SIDE)
    x, y = np.round(invert(frame) @ np.append(POINTS[[3, 31]].mean(0), 1)).astype(int)
    return shift[:, y, x] * np.sqrt(np.linalg.det(frame[:, :2]))


def measure(*pictures: np.ndarray, weight: float = 1.0, part: str = "all") -> list[np.ndarray]:
    count = len(pictures)
    made = DenseMotion(
        np.repeat(POINTS[None], count, 0),
        np.zeros(count, int),
        np.full(count, weight),
        lambda: iter(enumerate(pictures)),
        SIDE,
        part,
    )
    return list(made)


def test_a_cheek_that_moves_between_points_is_seen():
    still, moved = measure(textured(), bulged(textured(), 3.0))
    assert still.shape == (2, SIDE, SIDE) and np.abs(still).max() < 0.2
    # What is here now was three pixels further left in the reference.
    assert at_cheek(moved) == pytest.approx([-3.0, 0.0], abs=0.8)
    assert np.abs(moved[:, [0, -1]]).max() == np.abs(moved[:, :, [0, -1]]).max() == 0, "none at the frame's edge"


def test_frames_measured_at_once_are_as_each_alone():
    """With references of their own, at places of their own; more frames than are taken at once come in their order."""
    meter, shapes = ShiftMeter(SIDE), [POINTS, face_points(SIZE, scale=0.2, angle=0.1), POINTS + 7]
    references = [meter.reference(textured(points), points) for points in shapes]
    pictures = [bulged(textured(points), by) for points, by in zip(shapes, (3.0, 0.0, -2.0), strict=True)]
    alone = [meter.measure(*one) for one in zip(references, pictures, shapes, strict=True)]
    assert np.abs(meter.measure_all(references, pictures, np.stack(shapes)) - np.stack(alone)).max() < 0.02
    assert at_cheek(alone[0])[0] == pytest.approx(-3, abs=0.8)
    moved = [0.0, 3.0, -2.0, 1.0, 0.0, 2.0, -3.0]
    found = [at_cheek(shift)[0] for shift in measure(*(bulged(textured(), by) for by in moved))]
    assert found == pytest.approx([-by for by in moved], abs=0.8)


def test_strength_and_region_scale_it():
    _, half = measure(textured(), bulged(textured(), 3.0), weight=0.5)
    assert at_cheek(half) == pytest.approx([-1.5, 0.0], abs=0.5)
    _, eyes = measure(textured(), bulged(textured(), 3.0), part="eyes")
    assert np.abs(at_cheek(eyes)).max() < 0.5


def test_what_cannot_be_registered_is_left_alone():
    """Another picture altogether: no shift makes the reference much like it, so less is believed than was seen."""
    reference = to_signed(torch.from_numpy(textured()).permute(2, 0, 1)[None])
    points, frame = torch.from_numpy(POINTS)[None], torch.from_numpy(face_frame(POINTS, SIDE)).float()[None]
    flow = face_flow(points, points, frame, picture_box(reference, 1), SIDE)
    noise = np.random.default_rng(1).normal(0, 1, (SIDE, SIDE, 3)).astype(np.float32)
    other = torch.from_numpy(cv2.GaussianBlur(noise, (0, 0), 3.0) * 3).permute(2, 0, 1)[None]
    seen = register(sample(reference, flow), other)
    assert dense_motion(reference, flow, other).abs().mean() < 0.7 * seen.abs().mean()


def motion_of(frames: int, gone: tuple[int, ...] = ()) -> Motion:
    points = np.repeat(POINTS[None], frames, 0)
    points[list(gone)] = np.nan
    sure = np.where(np.isnan(points).any((1, 2)), 0, 1)
    times = np.arange(frames) / 25
    return Motion(points, sure, times, np.arange(frames), Fraction(1, 25), Fraction(25), (SIZE, SIZE))


def test_frames_without_a_face_have_none_and_it_fades_in_beside_them():
    weight = presence(motion_of(20, gone=(8, 9)))
    assert (weight[[8, 9]] == 0).all() and (weight[[0, 1, 18, 19]] == 1).all()
    assert 0 < weight[7] < 1 and (np.diff(weight[:8]) <= 0).all() and (np.diff(weight[10:]) >= 0).all()
    assert (presence(motion_of(3)) == 1).all()


def film_of(path: Path, pictures: list[np.ndarray]) -> Path:
    with VideoWriter(path, SIZE, SIZE, Fraction(1, 25), Fraction(25), crf=4) as writer:
        for t, picture in enumerate(pictures):
            writer.write(picture, t)
    return path


def test_single_frames_are_measured_as_the_whole_is(tmp_path):
    pictures = [bulged(textured(), by) for by in (0.0, 1.0, 3.0, 2.0)]
    path = film_of(tmp_path / "film.mp4", pictures)
    motion, points = motion_of(4), np.repeat(POINTS[None], 4, 0)
    heads = HeadMotion.of(points, lift(POINTS))
    plan = Plan(heads, points, np.zeros(4, int), [0], np.ones(4), Bounds.none(4))
    some = dense_motion_at(path, motion, plan, np.array([2, 1, 2]), SIDE)
    assert some.shape == (3, 2, SIDE, SIDE) and np.array_equal(some[0], some[2])
    assert at_cheek(some[0])[0] == pytest.approx(-3, abs=0.8) and at_cheek(some[1])[0] == pytest.approx(-1, abs=0.6)


def test_a_portrait_turned_otherwise_than_the_driver_gets_little_of_it():
    """Skin is elsewhere on a head that is seen from the side; absolute motion turns the portrait as the driver is."""
    motion = motion_of(4)
    shapes = turned_face(np.linspace(-1, 1, 9))
    alike = [
        float(plan_motion(motion, Portrait(textured(), one), Retargeting("relative"), 0).alike[0]) for one in shapes
    ]
    assert alike[4] == 0.5 and alike[0] < 0.1 and alike[-1] < 0.1 and np.diff(alike[:5]).min() >= 0
    assert plan_motion(motion, Portrait(textured(), shapes[0]), Retargeting("absolute"), 0).alike.min() == 1


def turned_face(turns: np.ndarray) -> np.ndarray:
    """The painted face turned to either side, by up to some 40 degrees: (T, 83, 2)."""
    own = take_out(POINTS[None])
    far = np.stack([turns * 0.25, np.zeros_like(turns)], 1)
    still = np.ones(len(turns))
    return place(own.shape + turned(far), own.angle * still, own.log_size * still, own.centre * still[:, None])


# ---- rendered ----


def shifts(count: int, by: float, side: int = 32) -> Iterator[np.ndarray]:
    return (np.stack([np.full((side, side), by), np.zeros((side, side))]).astype(np.float32) for _ in range(count))


def rendered(dense: Iterator[np.ndarray] | None, portraits: int = 1, count: int = 1, **more: object) -> np.ndarray:
    people = [Portrait(textured(), POINTS)] * portraits
    made = TexturedRenderer(model(), people, head_box(POINTS[None], (SIZE, SIZE)), **more)  # type: ignore[arg-type]
    return np.stack(list(made.render(np.repeat(POINTS[None], count, 0), dense))).astype(int)


@pytest.mark.parametrize("portraits", [1, 2])
@pytest.mark.parametrize("warp_only", [False, True])
def test_it_moves_what_is_rendered(portraits, warp_only):
    plain = rendered(None, portraits, warp_only=warp_only)[0]
    (out,) = rendered(shifts(1, 1.0), portraits, warp_only=warp_only)
    scale = float(np.sqrt(np.linalg.det(face_frame(POINTS, 32)[:, :2])))  # one frame pixel, in picture pixels
    x, y = np.round(POINTS[[3, 31]].mean(0)).astype(int)
    area = slice(y - 8, y + 8), slice(x - 8, x + 8)
    moved = [np.abs(out[area] - np.roll(plain, -n, 1)[area]).mean() for n in range(8)]
    assert int(np.argmin(moved)) == round(scale) and moved[round(scale)] < 0.5 * moved[0]
    assert np.array_equal(rendered(shifts(1, 0.0), portraits, warp_only=warp_only)[0], plain)


def test_every_frame_gets_its_own():
    by = [0.0, 1.0, 0.0, 2.0, 1.0, 0.0, 0.5]
    outs = rendered((next(shifts(1, b)) for b in by), count=len(by))
    moved = [float(np.abs(out - outs[0]).mean()) for out in outs]
    assert [moved[t] == 0 for t in range(len(by))] == [b == 0 for b in by] and moved[3] > moved[1] == moved[4] > moved[
        6
    ]


def test_a_driver_that_shrinks_between_its_two_readings_is_an_error():
    with pytest.raises(InputError, match="fewer frames when it was read again"):
        rendered(shifts(2, 0.0), count=3)


@pytest.mark.slow
def test_animate_takes_it_from_videos_alone(monkeypatch, tmp_path, tiny_model):
    """A face whose points stand still while its skin moves: seen in the output, unless it is not wanted."""
    monkeypatch.setitem(registry.BACKENDS, "builtin", lambda device: PaintedFaces())
    noise = np.random.default_rng(3).normal(0, 1, (120, 200)).astype(np.float32)
    spots = np.clip(50 + 240 * cv2.GaussianBlur(noise, (0, 0), 2.5), 0, 100)

    def face(to: int) -> np.ndarray:
        picture = np.full((120, 160, 3), 30, np.uint8)
        inside = spots[25:95, 20 + to : 80 + to]
        picture[25:95, 45:105] = np.stack([np.full_like(inside, 250), inside, inside], -1)
        return picture

    with VideoWriter(tmp_path / "d.mp4", 160, 120, Fraction(1, 25), Fraction(25), crf=4) as writer:
        for t in range(6):
            writer.write(face(t // 2), t)
    cv2.imwrite(str(tmp_path / "p.png"), face(0)[..., ::-1])

    def made(*options: object, driver: object = tmp_path / "d.mp4") -> np.ndarray:
        done = run(
            "animate", tmp_path / "p.png", driver, "-o", tmp_path / "o.mp4", "--overwrite", "--no-label",
            "--smooth", 0, "--model", tiny_model, *options,
        )  # fmt: skip
        assert done.exit_code == 0, done.output
        return frames_of(tmp_path / "o.mp4")[:, 40:80, 60:90]

    def change(frames: np.ndarray) -> float:
        return float(np.abs(frames[-1] - frames[0]).mean())

    plain = change(made("--no-dense"))
    assert change(made("--motion", "absolute")) > 4 * plain + 2 and change(made()) > 2 * plain + 1
    assert change(made("--region", "pose")) < 2 * plain + 1 and change(made("--warp-only")) < 2 * plain + 1
    assert change(made("--warp-only", "--dense")) > 4 * plain + 2
    assert run("extract", tmp_path / "d.mp4", "-o", tmp_path / "d.npz").exit_code == 0
    assert change(made(driver=tmp_path / "d.npz")) < 2 * plain + 1


# ---- learnt from ----


@pytest.mark.slow
def test_episodes_with_dense_motion_are_nearer_to_the_truth(tmp_path):
    """The points of the clip do not know of the cheek; the reference does."""
    pictures = [bulged(textured(), by) for by in (0.0, 4.0) * 6]
    film_of(tmp_path / "a.mp4", pictures)
    np.savez(tmp_path / "a.npz", points=np.repeat(POINTS[None], len(pictures), 0), identity=np.array("a"))
    clips = load_clips(tmp_path, 1)

    def error(dense: float) -> float:
        data = {"clips": tmp_path, "frame_step": 1, "point_noise": 0, "colour": 0, "dense": dense}
        settings = TrainConfig.model_validate({"data": data, "steps": 1}).data
        episodes = Episodes(clips, settings, SIDE, "filled", 0, 40)
        away = []
        for index in range(24):
            x = make_inputs({k: v[None] for k, v in episodes[index].items()}, SIDE, torch.device("cpu"))
            away.append(float((x.faces.warped - x.truth).abs().mean()))
        return float(np.mean(away))

    assert error(1.0) < 0.8 * error(0.0)
    assert error(1e-9) == pytest.approx(error(0.0), rel=1e-6), "one that is not to be used changes nothing"


def test_rare_frames_are_sought(tmp_path):
    points = [face_points(64, closed=float(t == 7), opened=0.5 * (t == 11)) for t in range(40)]
    write_clip(tmp_path / "a.mp4", "a", points=points)
    clips = load_clips(tmp_path, 1)

    def share(rare: float) -> float:
        data = {"clips": tmp_path, "frame_step": 1, "candidates": 1, "rare": rare}
        episodes = Episodes(clips, TrainConfig.model_validate({"data": data, "steps": 1}).data, 32, "filled", 0, 300)
        chosen = [episodes._choose(np.random.default_rng(i), clips[0])[0] for i in range(300)]
        return float(np.isin(chosen, (7, 11)).mean())

    assert share(0.0) < 0.12 < 0.35 < share(1.0)
