"""A model of the paper's kind at work: squares painted from landmarks, from its own training's view to a video."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from animate_samples import FACE, WALK, film, frames_of, portrait_file
from fake_face import PaintedFaces
from fewshot_reenact.errors import ModelError, UsageError
from fewshot_reenact.geometry.raster import raster
from fewshot_reenact.inputs.portrait import Portrait
from fewshot_reenact.media.reader import VideoReader
from fewshot_reenact.models.checkpoint import save_model
from fewshot_reenact.models.dimensions import ModelDimensions
from fewshot_reenact.models.reenactor import Reenactor
from fewshot_reenact.pipelines.animate import animate
from fewshot_reenact.provenance.verify import verify
from fewshot_reenact.rendering.flow import to_signed
from fewshot_reenact.rendering.paper import PaperRenderer
from fewshot_reenact.rendering.renderer import open_renderer
from fewshot_reenact.rendering.textured import TexturedRenderer
from painted_clips import face_points, paint_face

DIMS = ModelDimensions(
    kind="paper", size=32, embedding=16, embedder_channels=(8, 8), down_channels=(8, 8), up_channels=(8, 8),
    residual_blocks=1, attention=False, raster_style="strokes",
)  # fmt: skip


@pytest.fixture
def model() -> Reenactor:
    torch.manual_seed(0)
    return Reenactor(DIMS).eval().requires_grad_(False)


def portrait(side: int = 64) -> Portrait:
    points = face_points(side)
    return Portrait(paint_face(points, side), points)


def test_a_square_is_what_training_shows_the_networks(model):
    """The same square, raster and embedding as an episode that fills the picture; frames in order, over batches."""
    one = portrait()
    poses = np.stack([face_points(64, opened=0.05 * t) for t in range(6)])
    painter = PaperRenderer(model, [one], poses)
    made = list(painter.render(poses))
    assert len(made) == 6 and all(picture.shape == (32, 32, 3) and picture.dtype == np.uint8 for picture in made)
    x0, x1 = painter.matrix[:, 2], painter.matrix[:, 2] + 63 * np.diag(painter.matrix)
    assert (x0 <= 0).all() and (x1 >= 31).all(), "the square lies in the picture"
    at = (poses[5] @ painter.matrix[:, :2].T + painter.matrix[:, 2]).astype(np.float32)
    drawn = to_signed(torch.from_numpy(raster(at, 32, "strokes")).permute(2, 0, 1)[None])
    want = model.generator(drawn, painter.embedding)[0].permute(1, 2, 0)
    assert np.abs(made[5] / 127.5 - 1 - want.numpy()).max() < 0.006, "rounded to 8 bits"
    assert (made[0] != made[5]).any()


def test_psi_and_further_portraits_count(model):
    poses = portrait().points[None]
    (plain,) = PaperRenderer(model, [portrait()], poses).render(poses)
    psi = torch.randn(1, model.generator.style_length)
    (styled,) = PaperRenderer(model, [portrait()], poses, psi=psi).render(poses)
    other = Portrait(255 - portrait(96).picture, portrait(96).points)
    (several,) = PaperRenderer(model, [portrait(), other], poses).render(poses)
    assert (plain != styled).any() and (plain != several).any()


def test_networks_that_make_no_numbers_are_an_error(model):
    poses = portrait().points[None]
    with torch.no_grad():
        model.generator.out.bias.fill_(float("nan"))  # as sums of weights that are far too large are
    with pytest.raises(ModelError, match="no number"):
        next(PaperRenderer(model, [portrait()], poses).render(poses))


def test_a_square_goes_back_to_its_place(model):
    wide = Portrait(np.full((60, 100, 3), 200, np.uint8), face_points(60) + np.float32([30, 0]))
    painter = PaperRenderer(model, [wide], wide.points[None])
    out = painter.in_portrait(np.zeros((32, 32, 3), np.uint8))
    dark = np.argwhere(out[..., 0] == 0)
    assert out.shape == (60, 100, 3) and 40 < dark[:, 1].mean() < 80 and (out == 200).any()


def test_each_kind_has_its_renderer(model, tiny_model):
    from fewshot_reenact.models.checkpoint import load_model

    one = portrait()
    assert isinstance(open_renderer(model, [one], one.points[None]), PaperRenderer)
    assert isinstance(open_renderer(load_model(tiny_model), [one], one.points[None]), TexturedRenderer)
    with pytest.raises(UsageError, match="'paper' warps nothing"):
        open_renderer(model, [one], one.points[None], warp_only=True)
    with pytest.raises(ModelError, match="has no warp to correct"):
        TexturedRenderer(model, [one], (0, 0, 64, 64))


def test_the_video_is_a_square_with_all_that_a_video_has(model, tmp_path):
    weights = tmp_path / "model.safetensors"
    save_model(model, weights)
    picture, driver = portrait_file(tmp_path / "ann.png", FACE), film(tmp_path / "walk.mp4", WALK, sound=True)
    done = animate(picture, driver, tmp_path / "out.mp4", model=weights, landmarks=PaintedFaces(), device="cpu")
    assert (done.width, done.height) == (32, 32) and frames_of(done.output).shape == (12, 32, 32, 3)
    assert any("paints a square about the head, 32 pixels" in warning for warning in done.warnings)
    with VideoReader(done.output) as reader:
        assert reader.info.fps == Fraction(30000, 1001) and reader.info.has_audio
        assert [frame.pts for frame in reader] == [1001 * t for t in range(12)]
    assert verify([done.output])[0].made_by_this_tool
    with pytest.raises(UsageError, match="leave out the warp"):
        animate(picture, driver, tmp_path / "b.mp4", model=weights, warp_only=True, landmarks=PaintedFaces())
