"""A video as the portrait, through the command line: frames, times, sound, what is said, and what is refused."""

import json
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from animate_samples import RATE, WALK, complaint, film, frames_of, names_in, portrait_file, run
from fake_face import PaintedFaces
from fewshot_reenact import AnimateOptions, Session
from fewshot_reenact.errors import UsageError
from fewshot_reenact.files import sha256
from fewshot_reenact.landmarks import registry
from fewshot_reenact.media import segments
from fewshot_reenact.media.reader import VideoReader
from fewshot_reenact.media.writer import VideoWriter
from fewshot_reenact.pipelines import unfinished
from fewshot_reenact.provenance.verify import verify
from video_samples import beep_times, frame_times, packets

SHORT = WALK[:8]


@pytest.fixture(scope="module", autouse=True)
def painted() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry.BACKENDS, "builtin", lambda device: PaintedFaces())
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """long.mp4, 12 frames, and short.mp4, 8, both with sound; ann.png."""
    where = tmp_path_factory.mktemp("films")
    film(where / "long.mp4", WALK, sound=True)
    film(where / "short.mp4", SHORT, sound=True)
    film(where / "silent.mp4", WALK)
    portrait_file(where / "ann.png")
    return where


def made(folder: Path, model: Path, video: str, driver: str, *options: object) -> tuple[Path, str, dict]:
    """The output, what was said, and the report."""
    output, report = folder / "out.mp4", folder / "out.json"
    inputs = [folder / video, driver if driver.startswith("motion:") else folder / driver]
    more = ["--model", model, "--overwrite", "--no-label", "--json", report, *options]
    result = run("animate", *inputs, "-o", output, *more)
    assert result.exit_code == 0, result.output
    return output, result.stderr, json.loads(report.read_text())


def test_the_videos_frames_and_times_are_kept(folder, tiny_model):
    pts = [0, 900, 2000, 3100, 4000, 5500, 6400, 7777]
    film(folder / "odd.mp4", SHORT, pts)
    output, said, report = made(folder, tiny_model, "odd.mp4", "long.mp4")
    assert frame_times(output) == [Fraction(tick, 30000) for tick in pts]
    assert report["frames"] == 8 and report["settings"]["region"] == "expression"
    own, out = frames_of(folder / "odd.mp4"), frames_of(output)
    assert out.shape == own.shape
    # Beside and above the face nothing changes but by the codec and the watermark.
    assert np.abs(out - own)[:, :20].mean() < 3
    assert report["portrait"]["frames"] == report["portrait"]["found"] == 8 and "ends with the shorter" in said


@pytest.mark.parametrize(
    ("video", "driver", "fit", "frames"),
    [
        ("long.mp4", "short.mp4", None, 8),
        ("long.mp4", "short.mp4", "loop", 12),
        ("short.mp4", "long.mp4", "loop", 12),
        ("long.mp4", "short.mp4", "stretch", 12),
        ("short.mp4", "long.mp4", "stretch", 8),
        ("short.mp4", "motion:talk", None, 8),
    ],
)
def test_lengths(folder, tiny_model, video, driver, fit, frames):
    output, _, report = made(folder, tiny_model, video, driver, *([] if fit is None else ["--fit", fit]))
    assert report["frames"] == frames == len(frames_of(output)) and report["fps"] == str(RATE)
    assert report["settings"]["fit"] == (fit or "shortest")


@pytest.mark.parametrize(("audio", "beep"), [("driver", 0.2), ("portrait", 0.2), ("none", None)])
def test_sound(folder, tiny_model, audio, beep):
    driver = "silent.mp4" if audio == "portrait" else "long.mp4"
    video = "silent.mp4" if audio == "driver" else "long.mp4"
    output, said, _ = made(folder, tiny_model, video, driver, "--audio", audio)
    if beep is None:
        with VideoReader(output) as reader:
            assert not reader.info.has_audio
    else:
        assert beep_times(output) == pytest.approx([beep], abs=0.03)
    assert "sound" not in said


def test_sound_is_stretched_with_the_driver(folder, tiny_model):
    output, said, _ = made(folder, tiny_model, "long.mp4", "short.mp4", "--fit", "stretch")
    assert beep_times(output) == pytest.approx([0.2 * 12 / 8], abs=0.04)
    assert "the driver goes 0.67 times as fast" in said


def test_a_silent_driver_is_told(folder, tiny_model):
    _, said, _ = made(folder, tiny_model, "long.mp4", "silent.mp4")
    assert "the driver has no sound; --audio portrait keeps the video's own" in said


def test_frames_without_a_face_are_told_and_stay(folder, tiny_model):
    film(folder / "gap.mp4", [*WALK, [], [], [], [], *WALK[::-1]])
    output, said, report = made(folder, tiny_model, "gap.mp4", "gap.mp4")
    assert said.count("no face in 4 of 28 frames") == 2, "of the video and of the driver"
    assert "these frames stay as they are" in said and len(report["portrait"]["missing_spans"]) == 1
    own, out = frames_of(folder / "gap.mp4"), frames_of(output)
    assert np.abs(out - own)[12:16].mean() < 2.5


def test_the_pose_comes_too_where_it_is_asked_for(folder, tiny_model):
    still = film(folder / "still.mp4", [WALK[0]] * 12)
    _, _, alone = made(folder, tiny_model, still.name, "long.mp4")
    output, _, moved = made(folder, tiny_model, still.name, "long.mp4", "--region", "all")
    assert alone["settings"]["region"] == "expression" and moved["settings"]["region"] == "all"
    right = (frames_of(output)[-1][..., 0] > 150).any(0).nonzero()[0].max()
    assert right > (frames_of(still)[-1][..., 0] > 150).any(0).nonzero()[0].max() + 4


def test_side_by_side(folder, tiny_model):
    output, _, _ = made(folder, tiny_model, "long.mp4", "short.mp4", "--compare", "--fit", "loop")
    shown = frames_of(output)
    assert shown.shape == (12, 120, 480, 3)
    assert np.abs(shown[:, :, :160] - frames_of(folder / "long.mp4")).mean() < 4
    driver = frames_of(folder / "short.mp4")
    assert np.abs(shown[:, :, 160:320] - driver[[0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3]]).mean() < 4


def test_it_is_marked_as_every_output(folder, tiny_model):
    """Signed, and the video is an ingredient by its hash, as a portrait is."""
    output, _, report = made(folder, tiny_model, "long.mp4", "silent.mp4")
    (found,) = verify([output])
    assert found.signature is not None and found.signature.holds and found.made_by_this_tool
    stated = json.dumps(found.report())
    for name in ("long.mp4", "silent.mp4"):
        assert sha256(folder / name) in stated
    assert found.signature.statement["watermark"] == report["marks"]["watermark"]


def test_a_gif_that_moves_is_a_video_too(folder, tiny_model):
    pictures = [Image.fromarray(one.astype(np.uint8)) for one in frames_of(folder / "short.mp4")]
    pictures[0].save(folder / "short.gif", save_all=True, append_images=pictures[1:], duration=40)
    output, _, report = made(folder, tiny_model, "short.gif", "long.mp4")
    assert report["frames"] == 8 == len(frames_of(output))


@pytest.mark.parametrize(
    ("inputs", "options", "code", "said"),
    [
        (["long.mp4", "ann.png"], [], 3, "is not a picture but a video"),
        (["long.mp4", "short.mp4"], ["-p", "ann.png"], 2, "long.mp4: is a video; as the portrait it stands alone"),
        (["long.mp4", "short.mp4"], ["--background", "white"], 2, "keeps its own ground: leave out --background"),
        (["long.mp4", "short.mp4"], ["--matte", "ann.png"], 2, "keeps its own ground: leave out --matte"),
        (["long.mp4", "short.mp4"], ["--frame", "crop"], 2, "keeps its own frames: leave out --frame crop"),
        (["long.mp4", "short.mp4"], ["--motion", "absolute"], 2, "leave out --motion absolute"),
        (["long.mp4", "short.mp4"], ["--embed-thumbnails"], 2, "leave out --embed-thumbnails"),
        (["ann.png", "short.mp4"], ["--fit", "loop"], 2, "--fit is for a video as the portrait"),
        (["ann.png", "short.mp4"], ["--audio", "portrait"], 2, "--audio portrait is for a video as the portrait"),
        (["nobody.mp4", "short.mp4"], [], 3, "nobody.mp4: no face was found in any of its 3 frames"),
        (["torn.mp4", "short.mp4"], [], 3, "torn.mp4"),
    ],
)
def test_what_is_refused(folder, tiny_model, tmp_path, inputs, options, code, said):
    if not (folder / "nobody.mp4").exists():
        film(folder / "nobody.mp4", [[], [], []])
    (folder / "torn.mp4").write_bytes((folder / "long.mp4").read_bytes()[:600])
    options = [folder / one if str(one).endswith(".png") else one for one in options]
    more = ["--model", tiny_model, "-o", tmp_path / "o.mp4"]
    assert said in complaint(run("animate", *(folder / one for one in inputs), *options, *more), code)
    assert names_in(tmp_path) == []


def test_a_batch_and_a_session_measure_it_once(folder, tiny_model, tmp_path, monkeypatch):
    measured: list[object] = []
    real = PaintedFaces.detect
    monkeypatch.setattr(PaintedFaces, "detect", lambda self, picture: measured.append(0) or real(self, picture))
    with Session(folder / "long.mp4", AnimateOptions(model=tiny_model, label=False)) as session:
        seen = len(measured)
        first = session.animate(folder / "short.mp4", tmp_path / "a.mp4")
        once = len(measured) - seen
        session.animate(folder / "short.mp4", tmp_path / "b.mp4")
        assert len(measured) - seen == 2 * once < 2 * seen + 2 and first.frames == 8
        with pytest.raises(UsageError, match="has frames of its own: use animate"):
            session.frame(np.zeros((120, 160, 3), np.uint8))
    jobs = tmp_path / "jobs.jsonl"
    row = {"portrait": str(folder / "long.mp4"), "driver": str(folder / "short.mp4"), "fit": "loop", "region": "lips"}
    jobs.write_text(json.dumps({**row, "model": str(tiny_model)}) + "\n")
    result = run("batch", jobs, "-o", tmp_path / "made", "--no-label")
    assert result.exit_code == 0, result.output
    assert len(frames_of(tmp_path / "made" / "long--short.mp4")) == 12


def test_live_refuses_it(folder):
    result = run("live", folder / "long.mp4", "--camera", folder / "short.mp4", "--no-window", "--frames", 2)
    assert "is a video; live moves a picture" in complaint(result, 3)


@pytest.mark.parametrize("options", [[], ["--region", "all"], ["--fit", "loop", "--audio", "portrait"]])
def test_what_was_interrupted_goes_on(folder, tiny_model, monkeypatch, options):
    """To the same frames and the same sound."""
    monkeypatch.setattr(segments, "SEGMENT", 8)
    monkeypatch.setattr(unfinished, "LONG", 10)
    monkeypatch.setattr("fewshot_reenact.provenance.marks.secrets.randbits", lambda bits: 7)
    if not (folder / "longer.mp4").exists():
        film(folder / "longer.mp4", WALK + WALK[::-1], sound=True)
    whole, _, _ = made(folder, tiny_model, "longer.mp4", "longer.mp4", *options)
    want, sound = frames_of(whole), packets(whole, "audio")
    real, calls = VideoWriter.write, [0]

    def interrupted(self: VideoWriter, *given: object) -> None:
        calls[0] += 1
        if calls[0] == 18:
            raise KeyboardInterrupt
        real(self, *given)

    with monkeypatch.context() as patch:
        patch.setattr(VideoWriter, "write", interrupted)
        inputs = ["animate", folder / "longer.mp4", folder / "longer.mp4", "-o", folder / "out.mp4"]
        result = run(
            *inputs, "--model", tiny_model, "--overwrite", "--no-label", "--json", folder / "out.json", *options
        )
    assert result.exit_code == 130 and "16 of 24 frames are kept" in result.output
    output, said, report = made(folder, tiny_model, "longer.mp4", "longer.mp4", *options)
    assert report["taken_over"] == 16 and "it goes on there" in said
    assert (frames_of(output) == want).all() and packets(output, "audio") == sound
