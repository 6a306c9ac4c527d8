"""What every test may ask for."""

import atexit
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

# Before anything is imported that may ask: no test touches the user's own key and history, and none is asked to agree.
os.environ["REENACT_CONFIG"] = tempfile.mkdtemp(prefix="reenact-tests-")
atexit.register(shutil.rmtree, os.environ["REENACT_CONFIG"], ignore_errors=True)
os.environ["REENACT_ACCEPT_USE"] = "1"
# A shell starts what it runs in the background with Ctrl-C ignored, which would be inherited by all that tests run.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def assets(root: Path) -> Path:
    """The bundled pictures and driver."""
    return root / "src" / "fewshot_reenact" / "assets"


@pytest.fixture(scope="session")
def shared(root: Path) -> Path:
    """The research material beside the checkout; tests that need it are skipped where it is absent."""
    folder = root.parent / "shared"
    if not (folder / "data").is_dir():
        pytest.skip("needs ../shared/data, which is not part of the project")
    return folder


@pytest.fixture
def one_thread() -> Iterator[None]:
    """For networks so tiny that threads would wait for each other most of the time."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def signature_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """`verify` without its search for a watermark, which takes a second for a picture that has none."""
    monkeypatch.setattr("fewshot_reenact.provenance.verify.detect", lambda pictures, *_, **__: list(pictures) and None)


@pytest.fixture(scope="session")
def marked(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """A video of 12 frames, 640 x 480, as `animate` writes it, marks and all. Not to be changed: copy it."""
    from animate_samples import WALK, film, portrait_file
    from fake_face import PaintedFaces
    from fewshot_reenact import animate

    folder = tmp_path_factory.mktemp("marked")
    portrait, driver = portrait_file(folder / "ann.png", scale=4), film(folder / "walk.mp4", WALK, sound=True)
    consent = "Ann said yes"
    return animate(
        portrait, driver, folder / "out.mp4", model=tiny_model, landmarks=PaintedFaces(), consent=consent
    ).output


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained textured model, too small to be any good and quick to run."""
    import torch

    from fewshot_reenact.models.checkpoint import save_model
    from fewshot_reenact.models.dimensions import ModelDimensions
    from fewshot_reenact.models.reenactor import Reenactor

    torch.manual_seed(0)
    dims = ModelDimensions(
        kind="textured",
        size=64,
        embedding=16,
        embedder_channels=(8, 8),
        down_channels=(8, 8),
        up_channels=(8, 8),
        residual_blocks=1,
        generator_unshuffle=2,
        embedder_unshuffle=4,
        stem=8,
        skips=True,
        spectral_norm=False,
        attention=False,
    )
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    save_model(Reenactor(dims), path)
    return path


@pytest.fixture(scope="session")
def vox_videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few short videos in VoxCeleb's folders, good and bad ones."""
    from talking_heads import voxceleb

    return voxceleb(tmp_path_factory.mktemp("vox"))


@pytest.fixture(scope="session")
def vox_shards(vox_videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `reenact prepare` makes of them in one process without interruption. Not to be changed."""
    from fewshot_reenact.training.data.clipping import ClipOptions
    from fewshot_reenact.training.data.prepare import prepare

    out = tmp_path_factory.mktemp("prepared") / "shards"
    prepare(vox_videos, out, options=ClipOptions(size=96, min_face=30))
    return out
