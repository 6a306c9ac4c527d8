"""`Session`: arrays in and out, causal, marked, and the same work as `animate` where a whole driver is given."""

import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from animate_samples import FACE, WALK, box_in, face_picture, film, frames_of, portrait_file
from fake_face import PaintedFaces, paint
from fewshot_reenact import AnimateOptions, Session, animate, verify
from fewshot_reenact.errors import InputError, UsageError
from fewshot_reenact.media.pictures import read_picture
from fewshot_reenact.provenance import history
from fewshot_reenact.provenance.detector import detect

DRIVER = [paint(*faces) for faces in WALK]
REST = paint(*WALK[0])


@pytest.fixture
def options(tiny_model: Path) -> AnimateOptions:
    return AnimateOptions(model=tiny_model, landmarks=PaintedFaces(), label=False, smooth=0)


@pytest.fixture
def same_id(monkeypatch: pytest.MonkeyPatch) -> None:
    """The watermark's id is random; pictures that are compared have the same one."""
    monkeypatch.setattr("fewshot_reenact.provenance.marks.secrets.randbits", lambda bits: 7)


@pytest.fixture
def session(options: AnimateOptions) -> Iterator[Session]:
    with Session(face_picture(FACE), options, calibrate=0) as one:
        yield one


def test_the_portrait_goes_where_the_driver_goes(session: Session) -> None:
    made = list(session.frames(DRIVER))
    assert [picture.shape for picture in made] == [(120, 160, 3)] * len(DRIVER)
    boxes = np.stack([box_in(picture) for picture in made])
    # The face goes right and grows, as the driver's does, beginning with where the portrait has it.
    assert abs(boxes[0] - FACE).max() < 4
    assert boxes[-1, 0] > boxes[0, 0] + 8 and (np.diff(boxes[:, 0]) > -1.5).all()


def test_a_picture_is_known_before_the_next_frame_is(session: Session) -> None:
    """Causal: each picture is there before the next frame is taken, and what comes later changes nothing."""
    taken = []

    def driver() -> Iterator[np.ndarray]:
        for number, picture in enumerate(DRIVER):
            taken.append(number)
            yield picture

    long = []
    for number, picture in enumerate(session.frames(driver())):
        assert taken[-1] == number
        long.append(picture)
    short = list(session.frames(DRIVER[:5]))
    assert all(np.array_equal(a, b) for a, b in zip(short, long, strict=False))


@pytest.mark.parametrize("kind", ["path", "bytes", "file", "pil", "array", "several"])
def test_pictures_of_every_kind(kind: str, options: AnimateOptions, tmp_path: Path, same_id: None) -> None:
    path = portrait_file(tmp_path / "ann.png")
    given = {
        "path": path,
        "bytes": path.read_bytes(),
        "file": io.BytesIO(path.read_bytes()),
        "pil": Image.open(path),
        "array": read_picture(path),
        "several": [read_picture(path), path],
    }[kind]
    seen = Image.fromarray(REST) if kind == "pil" else REST
    with Session(given, options) as one, Session(path, options) as other:
        made = one.frame(seen)
        assert made.dtype == np.uint8 and made.shape == (120, 160, 3)
        if kind != "several":  # two portraits are mixed
            assert np.array_equal(made, other.frame(REST))


def test_a_frame_without_a_face_holds_the_last_one(session: Session) -> None:
    blank = paint()
    before = session.frame(blank)
    assert abs(box_in(before) - FACE).max() < 4  # nobody was seen yet: the portrait as it is
    for picture in DRIVER[:6]:
        moved = session.frame(picture)
    assert not np.array_equal(moved, before)
    assert np.array_equal(session.frame(blank), moved) and np.array_equal(session.frame(blank), moved)
    again = session.frame(DRIVER[6])
    # The face is found again, and begins from where it was held.
    assert abs(box_in(again) - box_in(moved)).max() < 4


def test_the_reference_settles_within_the_first_second(options: AnimateOptions) -> None:
    """The driver's frame that looks as the portrait does comes late; afterwards it is the portrait's own state."""
    narrow, same = (40, 30, 40, 70), (40, 30, 60, 70)
    driver = [*[paint(narrow)] * 3, *[paint(same)] * 25]
    with Session(face_picture(FACE), options) as settles, Session(face_picture(FACE), options, calibrate=0) as first:
        late, early = (list(one.frames(driver)) for one in (settles, first))
    apart = [abs(box_in(pictures[-1]) - FACE).max() for pictures in (late, early)]
    assert apart[0] < 6 and apart[1] > apart[0] + 5  # the first frame as the reference leaves the face too wide
    steps = np.abs(np.diff(np.stack([box_in(picture) for picture in late[5:]]), axis=0))
    assert steps.max() < 6


def test_a_still_picture_of_the_driver_is_the_reference(options: AnimateOptions) -> None:
    with Session(face_picture(FACE), options, calibrate=paint((30, 30, 50, 60))) as session:
        same, moved = session.frame(paint((30, 30, 50, 60))), session.frame(paint((36, 30, 50, 60)))
    assert abs(box_in(same) - FACE).max() < 4 and box_in(moved)[0] > box_in(same)[0] + 2
    with pytest.raises(InputError, match="no face"):
        Session(face_picture(FACE), options, calibrate=paint())


def test_pictures_carry_the_marks(tiny_model: Path) -> None:
    portrait = face_picture(FACE, scale=5)
    with Session(portrait, AnimateOptions(model=tiny_model, landmarks=PaintedFaces())) as labelled:
        made = [labelled.frame(picture) for picture in DRIVER]
        found = detect(made)
        assert found is not None and labelled.watermark.startswith(found.id)
        noted = history.find(labelled.watermark)
        assert noted is not None and "session" in noted.file
    bare = AnimateOptions(model=tiny_model, landmarks=PaintedFaces(), label=False)
    with Session(portrait, bare) as other:
        plain = other.frame(DRIVER[0])
        assert detect([other.frame(picture) for picture in DRIVER[1:]]) is not None
    changed = np.abs(plain.astype(int) - made[0]).max(2) > 40
    assert changed.any() and not changed[: len(changed) // 2].any()  # the label, in its corner


def test_animate_of_a_session_is_animate(
    options: AnimateOptions, tmp_path: Path, tiny_model: Path, same_id: None
) -> None:
    portrait, driver = portrait_file(tmp_path / "ann.png"), film(tmp_path / "walk.mp4", WALK)
    with Session(portrait, options) as session:
        session.frame(REST)
        made = [session.animate(driver, tmp_path / f"{name}.mp4") for name in "ab"]
        with pytest.raises(UsageError, match="exists already"):
            session.animate(driver, tmp_path / "a.mp4")
    alone = animate(
        portrait, driver, tmp_path / "c.mp4", model=tiny_model, landmarks=PaintedFaces(), label=False, smooth=0
    )
    for one in made:
        assert np.array_equal(frames_of(one.output), frames_of(alone.output))
        assert one.settings.keys() == alone.settings.keys() and one.reference == alone.reference
    assert verify(made[0].output)[0].report()["signature"]


def test_sessions_work_in_threads_side_by_side(options: AnimateOptions, same_id: None) -> None:
    def work(number: int) -> list[np.ndarray]:
        with Session(face_picture((50 + number, 30, 60, 70)), options) as session:
            return list(session.frames(DRIVER))

    alone = [work(number) for number in range(3)]
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(work, range(3)))
    assert all(
        np.array_equal(a, b) for one, two in zip(alone, together, strict=True) for a, b in zip(one, two, strict=True)
    )


def test_networks_are_shared_between_sessions(options: AnimateOptions) -> None:
    one = Session(face_picture(FACE), options)
    with one, Session(face_picture((40, 20, 60, 70)), options, networks=one.networks) as other:
        assert other.networks.model is one.networks.model
        assert other.frame(REST).shape == (120, 160, 3)


def test_what_cannot_be(session: Session, options: AnimateOptions, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"shape \(4, 4\)"):
        session.frame(np.zeros((4, 4), np.uint8))
    with pytest.raises(UsageError, match="float64"):
        session.frame(np.zeros((4, 4, 3)))
    with pytest.raises(UsageError, match="is no picture"):
        session.frame(17)  # type: ignore[arg-type]
    session.frame(REST, 1.0)
    with pytest.raises(UsageError, match="only go forward"):
        session.frame(REST, 1.0)
    with pytest.raises(UsageError, match="fps"):
        next(session.frames([REST], fps=0))
    with pytest.raises(UsageError, match="calibrate"):
        Session(face_picture(FACE), options, calibrate=-1)
    with pytest.raises(InputError, match="no face"):
        Session(paint(), options)
    with pytest.raises(InputError, match="portrait-1"):
        Session(b"no picture at all", options)
    session.close()
    session.close()
    with pytest.raises(UsageError, match="closed"):
        session.frame(REST)


def test_a_driver_of_another_size_is_another_driver(session: Session) -> None:
    session.frame(REST)
    assert abs(box_in(session.frame(paint((80, 60, 90, 110), size=(320, 240)))) - FACE).max() < 4


def test_a_transparent_ground_has_an_alpha_channel(tiny_model: Path, tmp_path: Path) -> None:
    mask = np.zeros((120, 160), np.uint8)
    mask[25:110, 45:115] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    options = AnimateOptions(
        model=tiny_model, landmarks=PaintedFaces(), matte=tmp_path / "mask.png", background="transparent"
    )
    with Session(face_picture(FACE), options) as session:
        assert session.frame(REST).shape == (120, 160, 4)
