"""What is said of a disk, a quota and a stranger's file: the cause, and nothing that a library advises."""

import errno
import os
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest

from animate_samples import WALK, complaint, film, portrait_file, run
from fake_face import PaintedFaces
from fewshot_reenact.errors import InputError, ModelError
from fewshot_reenact.files import output_error
from fewshot_reenact.landmarks import registry
from fewshot_reenact.training.data.clips import load_clips
from fewshot_reenact.weights import load_arrays
from painted_clips import write_clip
from video_samples import ffmpeg


@pytest.mark.skipif(os.name != "posix", reason="a shell script stands for ffmpeg")
@pytest.mark.parametrize(("number", "says"), [(errno.ENOSPC, "no room to write it"), (errno.EFBIG, "ulimit -f")])
def test_a_disk_that_fills_while_sound_is_converted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_model: Path, number: int, says: str
) -> None:
    """Not "leave the sound out"."""
    monkeypatch.setitem(registry.BACKENDS, "builtin", lambda device: PaintedFaces())
    portrait, driver = portrait_file(tmp_path / "ann.png"), film(tmp_path / "walk.mp4", WALK, sound=True)
    ffmpeg("-i", driver, "-c:v", "copy", "-c:a", "flac", tmp_path / "walk.mkv")
    full = tmp_path / "ffmpeg"
    full.write_text(f"#!/bin/sh\necho 'out.mp4: {os.strerror(number)}' >&2\nexit 1\n")
    full.chmod(0o755)
    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", lambda: str(full))
    line = ("animate", portrait, tmp_path / "walk.mkv", "--model", tiny_model, "-o", tmp_path / "o.mp4")
    said = complaint(run(*line), 2)
    assert says in said and "sound" not in said
    assert not [path for path in tmp_path.iterdir() if path.name.startswith((".", "o.mp4"))]


def test_a_quota_is_no_full_disk() -> None:
    said = str(output_error(Path("/x/o.mp4"), OSError(errno.EDQUOT, "Disk quota exceeded")))
    assert "quota" in said and "MiB left" not in said


def test_no_file_is_recommended_for_trust(tmp_path: Path) -> None:
    """NumPy says of pickles that they can be loaded by who trusts the file."""
    write_clip(tmp_path / "a.mp4", "ann", frames=3)
    np.savez(tmp_path / "a.npz", points=np.array([{}], object), identity=np.array("ann"))
    with pytest.raises(InputError, match="holds programs") as caught:
        load_clips(tmp_path, 1)
    (tmp_path / "b.npz").write_bytes(b"\x80\x04N.")
    with pytest.raises(ModelError, match="holds programs") as also:
        load_arrays(tmp_path / "b.npz", ["x"])
    assert not any("trust" in str(one.value) or "allow_pickle" in str(one.value) for one in (caught, also))
