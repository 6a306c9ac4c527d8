"""`animate` with every option, through the command line: what it changes, and that time, sound and report are right.

Painted faces stand for people and an untrained model for the built-in one: both are exact and quick. The last tests use
real faces and the built-in landmarks.
"""

import json
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from animate_samples import FACE, WALK, box_in, complaint, film, frames_of, portrait_file, run
from fake_face import PaintedFaces
from fewshot_reenact.landmarks import registry
from fewshot_reenact.media.pictures import read_picture
from fewshot_reenact.media.reader import VideoReader
from fewshot_reenact.media.writer import VideoWriter
from fewshot_reenact.models.checkpoint import DEFAULT_MODEL, load_model, save_model
from fewshot_reenact.motion.builtins import load_builtin_motion
from fewshot_reenact.motion.files import save_motion
from video_samples import beep_times, frame_times, packets


@pytest.fixture(scope="module", autouse=True)
def painted() -> Iterator[None]:
    """The built-in backend reads painted faces; "real" is the one of ours."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry.BACKENDS, "real", registry.BACKENDS["builtin"])
        patch.setitem(registry.BACKENDS, "builtin", lambda device: PaintedFaces())
        # The watermark's id is random; pictures that are compared here have the same one.
        patch.setattr("fewshot_reenact.provenance.marks.secrets.randbits", lambda bits: 7)
        yield


class Stage:
    """A portrait and a driver, and `made`, which animates them with options and returns the output's frames."""

    def __init__(self, folder: Path, model: Path) -> None:
        self.folder, self.model = folder, model
        self.portrait = portrait_file(folder / "ann.png")
        self.driver = film(folder / "walk.mp4", WALK, sound=True)
        self.output = folder / "out.mp4"
        self.said = ""

    def made(self, *options: object, driver: object = None, portrait: object = None, label: bool = False) -> np.ndarray:
        inputs = [portrait or self.portrait, driver or self.driver]
        shown = [] if label else ["--no-label"]
        result = run("animate", *inputs, "-o", self.output, "--model", self.model, "--overwrite", *shown, *options)
        assert result.exit_code == 0, result.output
        self.said = result.stderr
        return frames_of(self.output)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Stage:
    return Stage(tmp_path_factory.mktemp("stage"), tiny_model)


@pytest.fixture(scope="module")
def plain(stage: Stage) -> np.ndarray:
    """The output without options."""
    return stage.made()


@pytest.fixture(scope="module")
def still(stage: Stage) -> np.ndarray:
    """The output at strength 0: the portrait, and what the encoder makes of it."""
    return stage.made("--strength", 0, driver="motion:blink")[0]


def moved(frames: np.ndarray, still: np.ndarray) -> np.ndarray:
    """(H, W) bool: where any frame differs from the still picture."""
    return np.abs(frames - still).max((0, 3)) > 24


# What moves, and how much


def test_the_face_moves_and_grows_with_the_driver(plain: np.ndarray) -> None:
    assert plain.shape == (12, 120, 160, 3)
    first, last = box_in(plain[0]), box_in(plain[-1])
    assert last[0] + last[2] / 2 > first[0] + first[2] / 2 + 8, "it goes right"
    assert last[2] > first[2] + 4, "it grows"


def test_absolute_motion_puts_the_face_where_the_drivers_is(stage: Stage) -> None:
    frames = stage.made("--motion", "absolute")
    for frame, [driver] in zip(frames, WALK, strict=True):
        x, _, width, _ = box_in(frame)
        assert abs(x + width / 2 - (driver[0] + driver[2] / 2)) < 6


@pytest.mark.parametrize(
    ("region", "driver", "upper", "lower"),
    [
        ("all", "motion:nod", True, True),
        ("pose", "motion:nod", True, True),
        ("expression", "motion:talk", True, True),
        ("lips", "motion:talk", False, True),
        ("eyes", "motion:blink", True, False),
    ],
)
@pytest.mark.slow
def test_region(stage: Stage, region: str, driver: str, upper: bool, lower: bool) -> None:
    large = portrait_file(stage.folder / "large.png", scale=2)
    still = stage.made("--strength", 0, "--end", "0.1", driver=driver, portrait=large)[0]
    frames = stage.made("--region", region, "--end", "1.2", driver=driver, portrait=large)
    where = moved(frames, still)
    x, y, width, height = (2 * value for value in FACE)
    eyes = where[y + height // 12 : y + height // 2, x + 8 : x + width - 8].mean()
    mouth = where[y + height * 6 // 10 : y + height, x + 8 : x + width - 8].mean()
    assert (eyes > 0.05) == upper and (mouth > 0.05) == lower, (eyes, mouth)
    heads = np.array([box_in(frame)[:2] for frame in frames])
    assert (np.ptp(heads, axis=0).max() >= 3) == (region in ("all", "pose"))


def test_strength(stage: Stage, still: np.ndarray) -> None:
    none, half, double = (stage.made("--strength", s, "--region", "pose") for s in (0, 0.5, 2))
    assert not moved(none, still).any(), "nothing moves at strength 0"
    places = [[box_in(frame) for frame in frames] for frames in (none, half, double)]
    went = [np.ptp([box[0] + box[2] / 2 for box in boxes]) for boxes in places]
    assert went[0] == 0 and went[1] + 4 < went[2]


def test_travel(stage: Stage, plain: np.ndarray) -> None:
    """The head's way alone becomes less; what the face does goes on."""
    places = [[box_in(frame) for frame in frames] for frames in (plain, stage.made("--travel", 0))]
    all_of_it, none = (np.ptp([box[0] + box[2] / 2 for box in boxes]) for boxes in places)
    assert none < 3 < all_of_it - 10


def test_smooth_takes_the_trembling_out(stage: Stage) -> None:
    motion = load_builtin_motion("blink").slice(end=0.6)
    motion.points = motion.points[:1] + np.random.default_rng(0).normal(0, 3, motion.points.shape)
    save_motion(motion, stage.folder / "trembling.npz", overwrite=True)
    change = {}
    for smooth in (0, 0.5, 1):
        frames = stage.made("--smooth", smooth, driver=stage.folder / "trembling.npz")
        change[smooth] = np.abs(np.diff(frames, axis=0)).mean()
    assert change[1] < change[0.5] < 0.85 * change[0]


@pytest.mark.slow
def test_warp_only_leaves_the_networks_out(stage: Stage, plain: np.ndarray, tmp_path: Path) -> None:
    """A network that changes much, so that it shows when it is left out."""
    model = load_model(stage.model)
    torch.manual_seed(1)
    for weights in model.parameters():
        weights.copy_(weights + 0.3 * torch.randn_like(weights))
    save_model(model, tmp_path / "wild.safetensors")
    wild = stage.made("--model", tmp_path / "wild.safetensors")
    warped = stage.made("--model", tmp_path / "wild.safetensors", "--warp-only")
    assert np.abs(wild - plain).max() > 60
    assert np.abs(warped - stage.made("--warp-only")).max() == 0


# What the output looks like


@pytest.mark.slow
def test_frame_and_size(stage: Stage) -> None:
    assert stage.made("--frame", "crop", "--size", 256).shape == (12, 256, 256, 3)
    assert stage.made("--frame", "crop", "--end", "0.1").shape == (3, 512, 512, 3)
    wide = box_in(stage.made("--frame", "crop", "--size", 256, "--strength", 0)[0])[2]
    assert wide > 0.35 * 256, "the head fills the square"


@pytest.mark.slow
def test_compare_shows_all_three(stage: Stage, plain: np.ndarray) -> None:
    frames = stage.made("--compare")
    assert frames.shape == (12, 120, 480, 3)
    assert np.abs(frames[:, :, 320:] - plain).mean() < 4
    assert np.ptp([box_in(frame[:, :160])[0] for frame in frames]) == 0, "the portrait stands still"
    shown = [box_in(frame[:, 160:320])[0] for frame in frames]
    assert shown == pytest.approx([faces[0][0] for faces in WALK], abs=1.5)
    assert stage.made("--compare", "--start", "0.1", "--end", "0.3").shape == (6, 120, 480, 3)
    assert stage.made("--compare", "--end", "0.1", driver="motion:talk").shape[1:] == (120, 160 + 120 + 160, 3)


def test_odd_sizes_are_reported_as_they_are_written(stage: Stage, tmp_path: Path) -> None:
    picture = read_picture(stage.portrait)
    Image.fromarray(picture[:119, :159]).save(tmp_path / "odd.png")
    frames = stage.made("--json", tmp_path / "r.json", "--end", "0.1", portrait=tmp_path / "odd.png")
    report = json.loads((tmp_path / "r.json").read_text())
    assert (report["height"], report["width"]) == frames.shape[1:3] == (120, 160)


def test_the_label_is_in_the_corner_and_no_label_leaves_the_other_marks(stage: Stage, plain: np.ndarray) -> None:
    assert b"AI-generated" in stage.output.read_bytes(), "made without the label"
    where = moved(stage.made(label=True), plain)
    # A few pixels elsewhere: the encoder has fewer bits for them.
    elsewhere = where.copy()
    elsewhere[90:, 60:] = False
    assert where.sum() > 100 and where[90:, 60:].mean() > 20 * elsewhere.mean()


# Whose face


@pytest.mark.slow
def test_face_and_driver_face(stage: Stage) -> None:
    two = portrait_file(stage.folder / "two.png", (5, 40, 40, 48), (90, 20, 60, 72))
    x = [rectangle[0][0] for rectangle in WALK]
    both = film(stage.folder / "both.mp4", [[(8, 40, 30, 36), (60 + a // 2, 20, 60, 72)] for a in x])
    left, right = slice(0, 66), slice(70, 160)

    def motion_in(*options: object, driver: Path = stage.driver) -> tuple[float, float]:
        frames = stage.made("--motion", "absolute", *options, portrait=two, driver=driver)
        still = stage.made("--strength", 0, portrait=two)[0]
        changed = moved(frames, still)
        return float(changed[:, left].mean()), float(changed[:, right].mean())

    def pushed(*options: object) -> float:
        frames = stage.made(*options, driver=both)
        return float(np.ptp([box_in(frame)[0] for frame in frames]))

    assert motion_in("--face", 2)[1] > 0.1
    assert "two.png: 2 faces; the largest (number 2 from the left) is used" in stage.said, "of the still one"
    assert motion_in("--face", 1)[0] > 0.1
    assert pushed() > 4 and "number 2" not in stage.said and "the largest is followed" in stage.said
    assert pushed("--driver-face", 2) > 4
    assert pushed("--driver-face", 1) <= 1
    assert "only 2" in complaint(run("animate", two, stage.driver, "--face", 3, "--model", stage.model), 3)


@pytest.mark.slow
def test_several_portraits_of_one_person(stage: Stage, plain: np.ndarray, tmp_path: Path) -> None:
    other = portrait_file(tmp_path / "b.png", (40, 25, 66, 80))
    portrait_file(tmp_path / "a.png")
    (tmp_path / "notes.txt").write_text("not a picture")
    (tmp_path / ".hidden.png").write_text("not a picture either")
    several = stage.made("-p", other)
    assert several.shape == plain.shape and np.abs(several - plain).max() > 0
    assert np.array_equal(several, stage.made(portrait=tmp_path)), "a folder is its pictures by name"
    result = run("animate", "-p", stage.portrait, "-p", other, stage.driver, "-o", tmp_path / "c.mp4",
                 "--model", stage.model, "--no-label")  # fmt: skip
    assert result.exit_code == 0 and np.array_equal(frames_of(tmp_path / "c.mp4"), several)


# Time and sound


@pytest.mark.parametrize(
    ("name", "options", "pts"),
    [
        ("29.97", [], [1001 * i for i in range(12)]),
        ("1350/61", [], [round(30000 * 61 / 1350 * i) for i in range(12)]),
        ("variable", [], [0, 1001, 2002, 5005, 9009, 9510, 10010, 12012]),
        ("compared", ["--compare"], [0, 1001, 2002, 5005, 9009, 9510, 10010, 12012]),
        ("late", [], [3000 + 1001 * i for i in range(8)]),
    ],
)
def test_frames_stand_at_the_drivers_times(stage: Stage, name: str, options: list[str], pts: list[int]) -> None:
    driver = film(stage.folder / f"{name.replace('/', '_')}.mp4", WALK[: len(pts)], pts, sound=name == "late")
    assert len(stage.made(*options, driver=driver)) == len(pts)
    assert frame_times(stage.output) == frame_times(driver) == [Fraction(tick, 30000) for tick in pts]


def test_frame_rates_that_no_clock_divides(stage: Stage) -> None:
    fps = Fraction(1350, 61)
    driver = stage.folder / "odd_rate.mp4"
    with VideoReader(stage.driver) as reader, VideoWriter(driver, 160, 120, 1 / fps, fps) as writer:
        for frame in reader:
            writer.write(frame.picture, frame.index)
    assert len(stage.made("--json", "-", driver=driver)) == 12
    assert frame_times(stage.output) == [i / fps for i in range(12)]
    with VideoReader(stage.output) as reader:
        assert reader.info.fps == fps


@pytest.mark.slow
def test_sound_is_copied_and_in_step(stage: Stage) -> None:
    stage.made()
    assert packets(stage.output, "audio") == packets(stage.driver, "audio")
    stage.made("--audio", "none")
    with VideoReader(stage.output) as reader:
        assert not reader.info.has_audio
    stage.made("--start", "0.1")
    with VideoReader(stage.driver, 0.1) as reader:
        began = float(next(iter(reader)).time)
    assert began < 0.01, "times begin with the cut"
    assert beep_times(stage.output) == pytest.approx([0.1], abs=0.03)


def test_start_and_end(stage: Stage) -> None:
    part = stage.made("--start", "0.1", "--end", "0.3", "--motion", "absolute")
    assert len(part) == 6
    assert box_in(part[0])[0] == pytest.approx(box_in(stage.made("--motion", "absolute")[3])[0], abs=2)
    assert len(stage.made("--start", "0:00.5", "--end", "0:01", driver="motion:talk")) in (12, 13)
    never = stage.folder / "never.mp4"
    for code, driver, options in (
        (3, stage.driver, ["--start", "3"]),
        (2, stage.driver, ["--start", "0.3", "--end", "0.1"]),
        (2, "motion:talk", ["--start", "300"]),
        (2, "motion:talk", ["--start", "0.3", "--end", "0.1"]),
    ):
        result = run("animate", stage.portrait, driver, *options, "--model", stage.model, "-o", never)
        assert complaint(result, code) and not never.exists()


# Drivers that are no videos, names and reports: test_animate_inputs.py. Errors: test_animate_errors.py.


def test_two_runs_give_the_same_file(stage: Stage, plain: np.ndarray) -> None:
    assert np.array_equal(stage.made(), plain)
    first = packets(stage.output), packets(stage.output, "audio")
    stage.made()
    assert (packets(stage.output), packets(stage.output, "audio")) == first


# Real faces


@pytest.fixture(scope="module")
def talking(stage: Stage, assets: Path) -> Path:
    """Grace Hopper talking for a second and a half, made by the tool itself."""
    output = stage.folder / "hopper.mp4"
    result = run("animate", assets / "grace_hopper.jpg", "motion:talk", "--end", "1.2", "--frame", "crop", "--size",
                 256, "--landmarks", "real", "--model", stage.model, "-o", output)  # fmt: skip
    assert result.exit_code == 0, result.output
    return output


@pytest.mark.slow
def test_a_person_drives_another(stage: Stage, assets: Path, talking: Path) -> None:
    frames = stage.made("--landmarks", "real", portrait=assets / "astronaut.jpg", driver=talking)
    assert frames.shape == (30, 512, 512, 3)
    picture = read_picture(assets / "astronaut.jpg").astype(np.int16)
    assert np.abs(frames - picture)[:, 400:].mean() < 4, "what is far from the head stays"
    assert np.abs(frames[:, :250, 120:340] - picture[:250, 120:340]).max() > 40, "the face moves"


@pytest.mark.skipif(not DEFAULT_MODEL.is_file(), reason=f"the built-in model {DEFAULT_MODEL.name} is not there")
@pytest.mark.slow
def test_the_builtin_model(stage: Stage, assets: Path, talking: Path) -> None:
    output = stage.folder / "builtin.mp4"
    result = run("animate", assets / "astronaut.jpg", talking, "--landmarks", "real", "--end", "0.5", "-o", output,
                 "--json", stage.folder / "builtin.json")  # fmt: skip
    assert result.exit_code == 0, result.output
    report = json.loads((stage.folder / "builtin.json").read_text())
    assert report["model"] == "built-in" and len(report["model_sha256"]) == 64
    with_it, warped = (
        frames_of(output),
        stage.made("--landmarks", "real", "--end", "0.5", "--warp-only", portrait=assets / "astronaut.jpg",
                   driver=talking),
    )  # fmt: skip
    assert with_it.shape == warped.shape and np.abs(with_it - warped).max() > 8
    assert np.abs(with_it - warped).mean() < 10, "it changes the face and does not paint over the picture"


def test_a_matte_and_a_background_of_ones_own(stage: Stage, tmp_path: Path) -> None:
    """Behind the person is what was asked for, in every frame; the matte of a file decides who that is."""
    y, x = np.mgrid[:120, :160]
    mask = (np.hypot((x - 80) / 46, (y - 56) / 58) < 1).astype(np.uint8) * 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    made = stage.made("--matte", tmp_path / "mask.png", "--background", "#00c000", "--travel", 0)
    corner = made[:, 2:30, 2:20].reshape(-1, 3).mean(0)
    assert np.abs(corner - [0, 192, 0]).max() < 12
    face = made[0, 50:66, 70:90].reshape(-1, 3).mean(0)
    assert np.abs(face - [0, 192, 0]).max() > 40, "the person is not covered"
    Image.fromarray(mask[:60]).save(tmp_path / "half.png")
    result = run("animate", stage.portrait, stage.driver, "-o", stage.output, "--overwrite", "--model", stage.model,
                 "--matte", tmp_path / "half.png")  # fmt: skip
    assert "give one of the same proportions" in complaint(result, 3)
    result = run("animate", stage.portrait, stage.driver, "-o", stage.output, "--overwrite", "--background", "purplish")
    assert "neither a colour" in complaint(result, 2)
