"""`--background transparent` through the command line: the alpha channel, the marks, and what is refused beforehand."""

from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from animate_samples import FACE, WALK, complaint, face_picture, film, names_in, portrait_file, run
from fake_face import PaintedFaces
from fewshot_reenact import verify
from fewshot_reenact.landmarks import registry
from fewshot_reenact.provenance.webm import split
from video_samples import frame_times

SIZE = (120, 160)
Y, X = np.mgrid[: SIZE[0], : SIZE[1]]
# 1 within an ellipse about the face, 0 outside, softly between.
ALPHA = np.clip((1.15 - np.hypot((X - 80) / 44, (Y - 62) / 56)) / 0.3, 0, 1)


@pytest.fixture(autouse=True)
def painted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.BACKENDS, "builtin", lambda device: PaintedFaces())


@pytest.fixture
def clear_portrait(tmp_path: Path) -> Path:
    """A painted face that is transparent around."""
    picture = face_picture(FACE)
    Image.fromarray(np.dstack([picture, np.round(255 * ALPHA).astype(np.uint8)])).save(tmp_path / "ann.png")
    return tmp_path / "ann.png"


def rgba(path: Path) -> Iterator[np.ndarray]:
    """Frames (H, W, 4). FFmpeg's own decoder of VP9 passes over alpha, libvpx does not."""
    with av.open(str(path)) as container:
        decoder = av.CodecContext.create("libvpx-vp9", "r") if path.suffix == ".webm" else None
        for packet in container.demux(video=0):
            for frame in decoder.decode(packet) if decoder else packet.decode():
                yield frame.to_ndarray(format="rgba")


def check_alpha(frames: list[np.ndarray]) -> None:
    for frame in frames:
        alpha = frame[..., 3]
        assert alpha.shape == SIZE and alpha[:8, :8].max() == 0 and alpha[:8, -8:].max() == 0, "the corners above"
        x, y, width, height = FACE
        assert alpha[y + 25 : y + height - 15, x + 20 : x + width - 15].min() >= 253, "the face"
        assert ((alpha > 20) & (alpha < 235)).sum() > 100, "soft between"
        edge = frame[(alpha > 20) & (alpha < 200)][:, :3].astype(int)
        assert edge.min(1).mean() < 90, "nothing shines through of the white over which it was read"


@pytest.mark.parametrize("suffix", [".mov", ".webm"])
def test_a_transparent_portrait_becomes_a_transparent_video(
    clear_portrait: Path, tiny_model: Path, tmp_path: Path, suffix: str
) -> None:
    driver = film(tmp_path / "walk.mp4", WALK, sound=True)
    output = tmp_path / f"out{suffix}"
    result = run("animate", clear_portrait, driver, "-o", output, "--model", tiny_model, "--travel", 0, "--no-label",
                 "--background", "transparent")  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "own transparency is its matte" in result.stderr
    frames = list(rgba(output))
    assert len(frames) == len(WALK)
    check_alpha(frames)
    assert max(np.abs(a[..., :3].astype(int) - b[..., :3]).max() for a, b in pairwise(frames)) > 40
    [found] = verify(output)
    assert found.signature is not None and found.signature.state == "trusted" and found.tags.by_this_tool
    assert found.tags.source_type is not None and found.tags.source_type.endswith(
        "compositeWithTrainedAlgorithmicMedia"
    )
    times = [float(time) for time in frame_times(output)]
    exact = [float(Fraction(1001 * t, 30000)) for t in range(len(WALK))]
    assert times == pytest.approx(exact, abs=1e-9 if suffix == ".mov" else 5.1e-4), "WebM rounds to milliseconds"
    with av.open(str(output)) as container:
        assert [stream.codec_context.name for stream in container.streams.audio] == (
            ["aac"] if suffix == ".mov" else ["opus"]
        )
    # One byte of the pictures changed, or the manifest cut off.
    data = bytearray(output.read_bytes())
    data[len(data) // 3] ^= 1
    (tmp_path / f"other{suffix}").write_bytes(data)
    [other] = verify(tmp_path / f"other{suffix}")
    assert other.signature is not None and other.signature.state == "altered"
    if suffix == ".webm":
        (tmp_path / "bare.webm").write_bytes(output.read_bytes()[: split(output)[0]])
        assert verify(tmp_path / "bare.webm")[0].signature is None


def test_the_watermark_is_found_in_colours_and_the_label_is_opaque(
    clear_portrait: Path, tiny_model: Path, tmp_path: Path
) -> None:
    """In a frame of a usual size; the default name has a suffix that can be transparent."""
    large = tmp_path / "large.png"
    Image.open(clear_portrait).resize((960, 720)).save(large)
    folder = tmp_path / "made"
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        result = run("animate", large, "motion:blink", "--end", "0.2", "--model", tiny_model,
                     "--background", "transparent")  # fmt: skip
    assert result.exit_code == 0, result.output
    output = folder / "large--blink.mov"
    assert names_in(folder) == [output.name]
    [found] = verify(output)
    assert found.watermark is not None and found.signature is not None and found.signature.state == "trusted"
    frame = next(rgba(output))
    corner = frame[-40:-10, -130:-20]
    assert corner[..., 3].max() == 255 and np.median(corner[..., 3]) > 120, "letters on a plate, over nothing"
    assert corner[..., :3][corner[..., 3] > 250].min() > 150, "which are white"


def test_a_pose_is_a_transparent_png(clear_portrait: Path, tiny_model: Path, tmp_path: Path) -> None:
    pose = portrait_file(tmp_path / "pose.png")
    output = tmp_path / "out.png"
    arguments = ["animate", clear_portrait, pose, "--model", tiny_model, "--background", "transparent", "--no-label"]
    result = run(*arguments, "-o", output)
    assert result.exit_code == 0, result.output
    with Image.open(output) as image:
        assert image.mode == "RGBA"
        check_alpha([np.asarray(image)])
    [found] = verify(output)
    assert found.signature is not None and found.signature.state == "trusted"
    assert "write .png" in complaint(run(*arguments, "-o", tmp_path / "out.jpg"), 2)


@pytest.mark.parametrize("name", ["out.mp4", "out.gif", "out.webp", "out"])
def test_what_cannot_be_transparent_is_refused_before_any_work(tmp_path: Path, name: str) -> None:
    portrait, driver = portrait_file(tmp_path / "ann.png"), film(tmp_path / "walk.mp4", WALK[:2])
    before = names_in(tmp_path)
    result = run("animate", portrait, driver, "-o", tmp_path / name, "--background", "transparent",
                 "--model", tmp_path / "not looked at")  # fmt: skip
    assert "write .mov or .webm" in complaint(result, 2)
    assert names_in(tmp_path) == before


def test_other_backgrounds_of_a_transparent_portrait_and_a_given_matte(
    clear_portrait: Path, tiny_model: Path, tmp_path: Path
) -> None:
    """`--matte` wins; of several portraits matte and ground are the first one's."""
    other = portrait_file(tmp_path / "bob.png", (45, 30, 60, 70))
    mask = np.where(ALPHA > 0, 255, 0).astype(np.uint8)
    mask[:, 80:] = np.where(np.hypot(X - 80, Y - 60) < 70, 255, 0)[:, 80:]
    Image.fromarray(mask).save(tmp_path / "mask.png")
    output = tmp_path / "out.png"
    arguments = ["animate", "-p", clear_portrait, "-p", other, other, "--model", tiny_model, "--no-label", "-o", output,
                 "--background", "#ff0080", "--travel", 0, "--overwrite"]  # fmt: skip
    result = run(*arguments)
    assert result.exit_code == 0 and "own transparency" in result.stderr, result.output
    made = np.asarray(Image.open(output)).astype(int)
    result = run(*arguments, "--matte", tmp_path / "mask.png")
    assert result.exit_code == 0 and "own transparency" not in result.stderr, result.output
    given = np.asarray(Image.open(output)).astype(int)
    right = (slice(55, 65), slice(136, 142))
    assert np.abs(made[right] - [255, 0, 128]).max() < 16 < np.abs(given[right] - [255, 0, 128]).max()
    assert np.abs(given[:8, :8] - [255, 0, 128]).max() < 16
