"""What the page does for who has it open, without a browser."""

import json
import threading
from pathlib import Path

import numpy as np
import pytest

from animate_samples import run
from fewshot_reenact.app.findings import look_at, look_for_marks
from fewshot_reenact.app.form import FIELDS, fields_for, options_from
from fewshot_reenact.app.terms import Limits, Offer
from fewshot_reenact.app.visitor import Stopped, Visitor
from fewshot_reenact.app.visitors import Visitors
from fewshot_reenact.cli.ui import option_help
from fewshot_reenact.errors import InputError, UsageError
from fewshot_reenact.media.pictures import read_picture
from fewshot_reenact.media.reader import VideoReader
from fewshot_reenact.pipelines.extract import extract
from fewshot_reenact.pipelines.options import AnimateOptions


@pytest.fixture
def driver(assets: Path, tmp_path: Path) -> Path:
    """Four frames of the bundled driver."""
    extract(assets / "driver.mp4", tmp_path / "driver.npz", end=0.16)
    return tmp_path / "driver.npz"


@pytest.fixture
def visitor(tmp_path: Path) -> Visitor:
    (tmp_path / "page").mkdir()
    return Visitors(tmp_path / "page", Limits(seconds=5.0, portraits=2)).of("ann")


AGREED = AnimateOptions(consent="she agreed")


@pytest.mark.slow
def test_it_makes_what_animate_makes_with_its_marks(assets: Path, driver: Path, visitor: Visitor):
    told: list[tuple[float, str]] = []
    given = [str(assets / "astronaut.jpg")]
    made = visitor.animate(
        given, str(driver), "blink", AnimateOptions(consent="she agreed", compare=True), tell=lambda *x: told.append(x)
    )
    wide, said, marks = made.output, made.said, made.marks
    plain = visitor.animate(given, str(driver), "blink", AGREED).output
    assert wide != plain and Path(wide).is_relative_to(visitor.folder) and Path(wide).name == "astronaut--driver.mp4"
    with VideoReader(Path(wide)) as one, VideoReader(Path(plain)) as other:
        assert len(list(one)) == len(list(other)) == 4
        assert one.info.width > other.info.width == 512
    assert "4 frames" in said and told[-1] == (1.0, "rendering")
    assert "she agreed" in marks and str(visitor.folder) not in marks
    assert "she agreed" in run("verify", wide).stdout
    report = json.loads(made.report.read_text("utf-8"))
    assert report["schema"] == "fewshot-reenact/animate/1" and report["frames"] == 4 and report["settings"]["compare"]
    assert report["output"] == made.report.with_suffix(".mp4").name and str(visitor.folder) not in json.dumps(report)


@pytest.mark.slow
def test_a_picture_as_the_driver_makes_a_picture(assets: Path, visitor: Visitor):
    portrait, pose = str(assets / "grace_hopper.jpg"), str(assets / "astronaut.jpg")
    made = visitor.animate([portrait], pose, "blink", AGREED)
    assert made.is_picture and made.output.name == "grace_hopper--astronaut.png"
    assert read_picture(made.output).shape == (512, 512, 3) and "she agreed" in made.marks
    assert made.said.startswith("512x512, ") and made.comparison.count("<img") == 2
    with pytest.raises(UsageError, match="no --start and --end"):
        visitor.animate([portrait], pose, "blink", AnimateOptions(consent="she agreed", end=1.0))


@pytest.mark.slow
def test_a_session_is_kept_and_what_is_stopped_leaves_nothing(assets: Path, visitor: Visitor):
    given, begun = [str(assets / "astronaut.jpg")], threading.Event()

    def tell(share: float, what: str) -> None:
        if what.startswith("rendering") and share > 0:
            visitor.stop()
            begun.set()

    with pytest.raises(Stopped):
        visitor.animate(given, None, "talk", AGREED, tell=tell)
    assert begun.is_set() and not list(visitor.folder.rglob("*.mp4"))
    kept = visitor._sessions._session
    visitor.animate(given, None, "blink", AnimateOptions(consent="she agreed"))
    assert visitor._sessions._session is kept and len(list(visitor.folder.rglob("*.mp4"))) == 1


def test_mistakes_are_said_in_animates_words(assets: Path, tmp_path: Path, visitor: Visitor):
    portrait = [str(assets / "astronaut.jpg")]
    with pytest.raises(UsageError, match="give a portrait"):
        visitor.animate(None, None, "blink", AGREED)
    for options, agreed in ((AGREED, False), (AnimateOptions(consent="  "), True)):
        with pytest.raises(UsageError, match="tick the box"):
            visitor.animate(portrait, None, "blink", options, agreed=agreed)
    text = tmp_path / "me.jpg"
    text.write_text("not a picture")
    with pytest.raises(InputError, match=r"me\.jpg"):
        visitor.animate([str(text)], None, "blink", AGREED)
    assert not list(tmp_path.rglob("*.mp4"))


def test_more_than_the_limits_is_refused(assets: Path, visitor: Visitor):
    portrait = str(assets / "astronaut.jpg")
    with pytest.raises(UsageError, match="3 portraits: this page takes 2"):
        visitor.animate([portrait] * 3, None, "blink", AGREED)
    limits = Limits(seconds=2.0)
    with pytest.raises(UsageError, match=r"the driver lasts 5 s: this page takes 2 s"):
        limits.check([portrait], str(assets / "driver.mp4"), AGREED)
    limits.check([portrait], str(assets / "driver.mp4"), AnimateOptions(start=1.0, end=2.5))
    with pytest.raises(UsageError, match=r"the portrait lasts 5 s: this page takes 2 s; cut it"):
        limits.check([str(assets / "driver.mp4")], "motion:blink", AGREED)
    for look in (visitor.look_at, visitor.look_for_marks):
        with pytest.raises(UsageError, match="3 files: this page takes 2"):
            look([portrait] * 3)


def test_it_looks_at_what_is_put_in(assets: Path, tmp_path: Path):
    words, picture = look_at([str(assets / "grace_hopper.jpg")], tmp_path)
    assert words.startswith("grace_hopper.jpg (portrait") and "face size" in words
    assert picture is not None and Path(picture).stat().st_size > 10_000
    assert look_at(None) == ("", None)
    words, picture = look_at([str(assets / "README.md")] * 9, tmp_path)
    assert words.count("README.md") >= 9 and (picture is None or Path(picture).is_file())
    assert "no mark" in look_for_marks([str(assets / "grace_hopper.jpg")]) and look_for_marks(None) == ""


def test_a_visitor_who_leaves_takes_all_along(tmp_path: Path, assets: Path):
    visitors = Visitors(tmp_path)
    one, other = visitors.of("ann"), visitors.of("bob")
    assert visitors.of("ann") is one is not other
    put_in = tmp_path / "put-in" / "ann.jpg"
    put_in.parent.mkdir()
    put_in.write_bytes(b"a person")
    one.remember([str(put_in), str(assets / "driver.mp4")])
    other.remember([str(put_in)])  # the same picture: gradio keeps one file of it
    visitors.leave("ann")
    assert put_in.exists(), "another visitor has it too"
    visitors.of("ann").remember([str(put_in)])
    visitors.leave("bob")
    other = visitors.of("bob")
    visitors.leave("ann")
    assert not put_in.exists() and not one.folder.exists() and other.folder.exists()
    assert (assets / "driver.mp4").exists() and visitors.of("ann") is not one


@pytest.mark.slow
def test_a_camera_moves_the_portrait(assets: Path, visitor: Visitor):
    with VideoReader(assets / "driver.mp4", end=0.12) as reader:
        pictures = [frame.picture for frame in reader]
    portrait = str(assets / "astronaut.jpg")
    made = [visitor.live(portrait, picture, mirror=True) for picture in pictures]
    shown = [read_picture(one) for one in made if one is not None]
    assert len(shown) == 3 and all(one.shape == (512, 512, 3) and one.dtype == np.uint8 for one in shown)
    assert not np.array_equal(shown[0], shown[2])
    for _ in range(8):
        visitor.live(portrait, pictures[0], mirror=True)
    assert len(list(visitor.folder.rglob("live.jpg"))) == 8, "pictures of a while ago are still there"
    assert visitor.live(portrait, None, mirror=True) is None and visitor._live is None


def test_how_long_it_takes_is_said_once_it_is_known(visitor: Visitor, monkeypatch: pytest.MonkeyPatch):
    now, told = [100.0], []
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    progress = visitor._progress(lambda share, what: told.append(what))
    for seconds, stage, done in (
        (0, "driver", 0),
        (10, "driver", 5),
        (1, "render", 0),
        (1, "render", 10),
        (9, "render", 20),
    ):
        now[0] += seconds
        progress(stage, done, None if stage == "driver" else 100)
    now[0] += 990
    progress("render", 50, 100)
    assert told[:2] == ["measuring the driver"] * 2, "no length is known"
    assert told[2:] == ["rendering", "rendering", "rendering, 40 s left", "rendering, 17 min left"]


def test_every_option_of_the_form_has_the_commands_help():
    assert all(option_help()[field.option] for field in FIELDS)
    values = {field.name: field.default for field in fields_for(Offer())}
    assert options_from(values, "") == AnimateOptions(region="all")
    others = options_from({**values, "label": "in Chinese", "dense": "off", "fit": "loop", "runtime": "onnx"}, "")
    assert others == AnimateOptions(region="all", label="cn", dense=False, fit="loop", runtime="onnx")
    filled = options_from({**values, "end": 2.0, "start": 0, "background": "white", "size": 256.0}, " yes ")
    assert filled == AnimateOptions(region="all", end=2.0, background="white", size=256, consent="yes")


@pytest.mark.slow
def test_a_person_is_fitted_and_is_a_portrait_then(assets: Path, visitor: Visitor):
    pictures = [str(assets / "astronaut.jpg"), str(assets / "astronaut.jpg")]
    with pytest.raises(UsageError, match="tick the box"):
        visitor.fit_person(pictures, "she agreed", agreed=False)
    with pytest.raises(UsageError, match="some pictures"):
        visitor.fit_person([], "she agreed")
    told: list[str] = []

    def tell(share: float, what: str) -> None:
        told.append(what)
        if what == "fitting the networks":
            visitor.stop()

    with pytest.raises(Stopped):
        visitor.fit_person(pictures, "she agreed", tell=tell)
    assert told[0] == "reading the pictures" and not list(visitor.folder.rglob("*.safetensors"))
    person, said = visitor.fit_person(pictures[:1], "she agreed")  # of one picture nothing is learnt
    assert said.startswith("1 frames, 0 steps") and Path(person).name == "astronaut.safetensors"
    assert "she agreed" in visitor.animate([person], None, "blink", AGREED).marks
