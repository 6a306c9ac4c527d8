"""Motion files of every kind through the commands: extract writes them, animate is driven by them."""

from pathlib import Path

import numpy as np
import pytest

from animate_samples import FACE, WALK, complaint, face_picture, film, frames_of, portrait_file, run
from fake_face import PaintedFaces
from fewshot_reenact import AnimateOptions, Session, animate, extract
from fewshot_reenact.motion.blendshapes import NAMES
from fewshot_reenact.motion.files import load_motion


@pytest.fixture
def painted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fewshot_reenact.pipelines.extract.load_backend", lambda *_: PaintedFaces())


@pytest.fixture
def same_id(monkeypatch: pytest.MonkeyPatch) -> None:
    """The watermark's id is random; pictures that are compared have the same one."""
    monkeypatch.setattr("fewshot_reenact.provenance.marks.secrets.randbits", lambda bits: 7)


@pytest.fixture
def walk(tmp_path: Path, painted: None) -> Path:
    driver = film(tmp_path / "walk.mp4", WALK)
    for name in ("walk.npz", "walk.jsonl"):
        assert run("extract", driver, "-o", tmp_path / name).exit_code == 0
    assert run("extract", driver, "-o", tmp_path / "walk.csv", "--blendshapes").exit_code == 0
    return tmp_path


def frames_by(folder: Path, driver: str, tiny_model: Path) -> np.ndarray:
    output = folder / f"{driver}.mp4"
    animate(
        portrait_file(folder / "portrait.png"), folder / driver, output, model=tiny_model, landmarks=PaintedFaces(),
        label=False, overwrite=True,
    )  # fmt: skip
    return np.stack(frames_of(output))


def test_json_lines_make_the_same_frames_as_npz(walk: Path, tiny_model: Path, same_id: None) -> None:
    one, other = (frames_by(walk, name, tiny_model) for name in ("walk.npz", "walk.jsonl"))
    assert one.shape == (len(WALK), 120, 160, 3) and np.array_equal(one, other)


def test_extract_writes_52_numbers_a_frame_that_drive(walk: Path, tiny_model: Path) -> None:
    heading, *rows = (line.split(",") for line in (walk / "walk.csv").read_text().splitlines())
    assert heading[:2] == ["Timecode", "BlendShapeCount"] and tuple(heading[2:54]) == NAMES and len(rows) == len(WALK)
    values = np.array([row[2:] for row in rows], float)
    assert values.shape == (len(WALK), 55) and (values[:, :52] >= 0).all() and (values[:, :52] <= 1).all()
    motion = load_motion(walk / "walk.csv")
    assert len(motion) == len(WALK) and motion.fps == load_motion(walk / "walk.npz").fps
    assert frames_by(walk, "walk.csv", tiny_model).shape == (len(WALK), 120, 160, 3)


def test_one_kind_becomes_another(walk: Path) -> None:
    for source, output, more in (
        ("walk.jsonl", "a.npz", ()), ("walk.npz", "a.csv", ("--blendshapes",)), ("walk.csv", "a.json", ())
    ):  # fmt: skip
        result = run("extract", walk / source, "-o", walk / output, *more)
        assert result.exit_code == 0, result.output
        assert len(load_motion(walk / output)) == len(WALK)
    assert np.array_equal(load_motion(walk / "a.npz").points, load_motion(walk / "walk.npz").points)
    assert (walk / "a.csv").read_text() == (walk / "walk.csv").read_text()


def test_what_does_not_go_together(walk: Path) -> None:
    driver = walk / "walk.mp4"
    assert "add --blendshapes" in complaint(run("extract", driver, "-o", walk / "b.csv"), 2)
    assert "use .csv" in complaint(run("extract", driver, "-o", walk / "b.npz", "--blendshapes"), 2)
    more = ("--picture", walk / "p.png")
    assert "has no pictures" in complaint(run("extract", walk / "walk.npz", "-o", walk / "b.jsonl", *more), 2)
    assert "already" in complaint(run("extract", walk / "walk.jsonl", "-o", walk / "b.jsonl"), 3)
    (walk / "bad.csv").write_text("a,b\n")
    assert "it has no column Timecode" in complaint(run("extract", walk / "bad.csv", "-o", walk / "b.npz"), 3)
    assert not [*walk.glob("b.*"), *walk.glob("p.png")]


def test_extract_from_python(walk: Path) -> None:
    made = extract(walk / "walk.mp4", walk / "c.csv", landmarks=PaintedFaces(), blendshapes=True)
    assert made.files == {"output": str(walk / "c.csv")} and len(made.motion) == len(WALK)


def test_neutral_in_a_session_and_in_a_file(walk: Path, tiny_model: Path, same_id: None) -> None:
    """The painted face is at rest, so that hardly anything changes; absolute motion has no use for it."""
    options = {"model": tiny_model, "landmarks": PaintedFaces(), "label": False, "smooth": 0}
    pictures = []
    for neutral in (False, True):
        with Session(face_picture(FACE), AnimateOptions(neutral=neutral, **options), calibrate=0) as session:
            assert session.animate(walk / "walk.npz", walk / f"{neutral}.mp4").settings["neutral"] is neutral
            pictures.append(session.frame(face_picture(FACE)).astype(int))
    assert pictures[0].shape == pictures[1].shape
    assert 0 < np.abs(pictures[0] - pictures[1]).mean() < 12
    line = ("animate", walk / "portrait.png", walk / "walk.npz", "--neutral", "--motion", "absolute", "-o", "o.mp4")
    portrait_file(walk / "portrait.png")
    assert "relative motion only" in complaint(run(*line), 2)
