"""Training with all clips on the device: the same episodes as one by one, and no OpenCV in a step."""

import cProfile
import pstats
import types
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.utils.data import default_collate

from fewshot_reenact.geometry.raster import raster
from fewshot_reenact.models.blocks import NORM_EPS, modulated_norm
from fewshot_reenact.rendering.registration import register as opencv_register
from fewshot_reenact.training.batch import make_inputs
from fewshot_reenact.training.config import TrainConfig
from fewshot_reenact.training.data.clips import load_clips
from fewshot_reenact.training.loop import make_episodes
from fewshot_reenact.training.resident import flow
from fewshot_reenact.training.resident.batches import ResidentEpisodes
from fewshot_reenact.training.resident.drawing import draw, fixed_points
from fewshot_reenact.training.resident.store import Store, build_store, open_store
from fewshot_reenact.training.trainer import Trainer
from network_samples import feature_net
from painted_clips import face_points, write_clips

CPU = torch.device("cpu")
MODEL = {
    "kind": "textured", "size": 32, "embedding": 8, "embedder_channels": [8, 8], "down_channels": [8, 8],
    "up_channels": [8, 8], "residual_blocks": 1, "embedder_unshuffle": 2, "generator_unshuffle": 2, "stem": 8,
    "skips": True, "spectral_norm": False, "attention": False, "flow": True,
}  # fmt: skip

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clips(tmp_path_factory.mktemp("data") / "clips", people=3, frames=9)


@pytest.fixture(scope="module")
def config(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainConfig:
    network = tmp_path_factory.mktemp("net") / "net.safetensors"
    feature_net(network)
    raw = {
        "model": MODEL,
        "data": {"clips": clips, "frame_step": 1, "dense": 0.5, "rare": 0.4, "portraits": 2, "point_noise": 0.004},
        "loss": {"network": network, "shift": 0.05},
        "optimiser": {"rate": 1e-3},
        **{"batch": 4, "steps": 50},
    }
    return TrainConfig.model_validate(raw)


@pytest.fixture(scope="module")
def store(clips: Path) -> Store:
    return build_store(load_clips(clips, 1), None)


def one_by_one(config: TrainConfig, clips: Path, indices: np.ndarray) -> dict[str, torch.Tensor]:
    episodes = make_episodes(config, load_clips(clips, 1))
    batch: dict[str, torch.Tensor] = default_collate([episodes[int(index)] for index in indices])
    return batch


def test_episodes_are_those_that_are_made_one_by_one(config: TrainConfig, clips: Path, store: Store) -> None:
    indices = np.array([3, 250, 300, 17])  # of two blocks of random numbers
    resident = ResidentEpisodes(store, config.data, config.dimensions(), config.seed)[indices]
    single = one_by_one(config, clips, indices)
    assert resident.keys() == single.keys()
    for name, value in single.items():
        ours = resident[name]
        assert ours.shape == value.shape, name
        if value.dtype == torch.uint8:
            away = (ours - (value.float() / 127.5 - 1)).abs() * 127.5
            limit = 4 if "raster" in name else 1.5  # strokes cover much of 32 pixels
            assert float(away.mean()) < limit, f"{name}: {away.mean()} levels"
        else:
            torch.testing.assert_close(ours.float(), value.float(), rtol=0, atol=1e-3, msg=name)


def test_ten_steps_learn_what_they_learn_one_by_one(
    config: TrainConfig, clips: Path, store: Store, tmp_path: Path
) -> None:
    losses = []
    episodes = ResidentEpisodes(store, config.data, config.dimensions(), config.seed)
    for name in ("resident", "streamed"):
        (tmp_path / name).mkdir()
        trainer = Trainer(config, tmp_path / name, CPU, 3, registration=flow.register)
        rows = []
        for step in range(10):
            indices = np.arange(4 * step, 4 * step + 4)
            rows.append(
                trainer.train_step(episodes[indices] if name == "resident" else one_by_one(config, clips, indices))
            )
        losses.append([row["loss"] for row in rows])
    resident, streamed = np.array(losses)
    assert np.ptp(streamed) > 0.02 * streamed.mean()  # steps differ by more than the two ways do
    np.testing.assert_allclose(resident, streamed, rtol=0.02)


def test_a_step_calls_no_opencv_and_no_sample_is_made_alone(
    config: TrainConfig, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    episodes = ResidentEpisodes(store, config.data, config.dimensions(), config.seed)
    trainer = Trainer(config, tmp_path, CPU, 3, registration=flow.register)
    planned = episodes.plan(np.arange(4))

    def never(*_args: object, **_more: object) -> None:
        raise AssertionError("OpenCV in a step")

    for name, value in vars(cv2).items():
        if isinstance(value, types.BuiltinFunctionType):
            monkeypatch.setattr(cv2, name, never)
    with pytest.raises(AssertionError, match="OpenCV"):
        cv2.resize(np.zeros((4, 4), np.uint8), (2, 2))
    made: list[int] = []
    monkeypatch.setattr("fewshot_reenact.training.resident.batches.cut", _counting(made))
    trainer.advance(episodes.make(planned))
    trainer.advance(episodes[np.arange(4, 8)])
    assert len(trainer.read()) == 2
    assert made == [4 * 3, 4 * 3]  # one call for all pictures of a batch


def test_a_larger_batch_makes_no_more_calls(config: TrainConfig, store: Store, tmp_path: Path) -> None:
    """Python's own, planning included: what each sample needs is done for all of them at once."""
    episodes = ResidentEpisodes(store, config.data, config.dimensions(), config.seed)
    trainer = Trainer(config, tmp_path, CPU, 3, registration=flow.register)
    calls = []
    for batch in (3, 24):
        trainer.advance(episodes[np.arange(batch)])  # fills caches
        trainer.read()
        profile = cProfile.Profile()
        profile.enable()
        trainer.advance(episodes[np.arange(batch)])
        profile.disable()
        calls.append(pstats.Stats(profile).total_calls)  # type: ignore[attr-defined]
    assert calls[0] > 500 and abs(calls[1] - calls[0]) < 10


def _counting(made: list[int]) -> object:
    from fewshot_reenact.training.resident.pictures import cut

    def counted(pictures: torch.Tensor, frames: torch.Tensor, size: int) -> torch.Tensor:
        made.append(len(pictures))
        return cut(pictures, frames, size)

    return counted


@pytest.mark.parametrize("style", ["strokes", "filled"])
@pytest.mark.parametrize("size", [64, 128])
def test_landmark_pictures_are_those_of_opencv(style: str, size: int) -> None:
    faces = np.stack([face_points(size), face_points(size) + 2.5])
    ours = draw(torch.from_numpy(fixed_points(faces, size)), size, style).permute(0, 2, 3, 1).numpy()
    theirs = np.stack([raster(points, size, style) for points in faces]).astype(np.float32)
    assert theirs.max() > 200
    assert np.abs(ours - theirs).mean() < 0.02 * theirs.mean() + 0.6
    assert np.abs(np.roll(ours, 1, 1) - theirs).mean() > 3 * np.abs(ours - theirs).mean()


def test_flow_on_the_device_finds_a_shift() -> None:
    rng = np.random.default_rng(0)
    rough = cv2.GaussianBlur(rng.uniform(-1, 1, (80, 80, 3)).astype(np.float32), (0, 0), 2.0)
    rough = rough / np.abs(rough).max()
    seen, wanted = rough[8:72, 8:72], rough[8:72, 10:74]  # what belongs at a place stands 2 pixels to its right
    pair = [torch.from_numpy(np.ascontiguousarray(one)).permute(2, 0, 1)[None] for one in (seen, wanted)]
    for register in (flow.register, opencv_register):
        found = register(*pair)[0, :, 16:48, 16:48].mean((1, 2))
        np.testing.assert_allclose(found.numpy(), [2, 0], atol=0.35)


def test_flow_on_the_device_is_the_same_among_bfloat16() -> None:
    seen, wanted = torch.rand(2, 1, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.autocast("cpu", torch.bfloat16):
        found = flow.register(seen.bfloat16(), wanted)
    torch.testing.assert_close(found, flow.register(seen.bfloat16().float(), wanted), rtol=0, atol=0)
    assert found.abs().max() > 0


def test_a_store_is_found_again_by_its_key(clips: Path, tmp_path: Path, store: Store) -> None:
    build_store(load_clips(clips, 1), tmp_path / "kept", "key")
    found = open_store(tmp_path / "kept", "key")
    assert found is not None and open_store(tmp_path / "kept", "other") is None
    assert torch.equal(found.frames, store.frames) and found.people == store.people
    assert np.array_equal(found.table.points, store.table.points) and found.fingerprint == store.fingerprint


@pytest.mark.parametrize("style", [(8,), (3, 8)])
def test_the_fused_norm_is_the_norm(style: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    x = (3 * torch.randn(3, 8, 6, 5, generator=generator) + 2).to(memory_format=torch.channels_last)
    given = [x, torch.randn(style, generator=generator), torch.randn(style, generator=generator)]
    weights = torch.randn(x.shape, generator=generator)

    def plain(x: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
        return F.instance_norm(x, eps=NORM_EPS) * scale[..., None, None] + shift[..., None, None]

    found = []
    for norm in (modulated_norm, plain):
        own = [value.clone().requires_grad_(True) for value in given]
        made = norm(*own)
        found.append([made, *torch.autograd.grad((made * weights).sum(), own)])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_dense_inputs_take_the_given_registration(config: TrainConfig, store: Store) -> None:
    asked: list[tuple[int, ...]] = []

    def none(seen: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        asked.append(tuple(wanted.shape))
        return torch.zeros(len(seen), 2, *seen.shape[-2:])

    batch = ResidentEpisodes(store, config.data, config.dimensions(), config.seed)[np.arange(4)]
    make_inputs(batch, 32, CPU, none)
    assert asked == [(4, 3, 32, 32)]
