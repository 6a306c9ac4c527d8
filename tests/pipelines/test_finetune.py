"""Fine-tuning to a person: what moves and what does not, the file of the person, and that it animates."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from animate_samples import FACE, WALK, complaint, film, frames_of, portrait_file, run
from fake_face import PaintedFaces
from fewshot_reenact.errors import InputError, ModelError, UsageError
from fewshot_reenact.inputs.person import Person, load_person, save_person
from fewshot_reenact.inputs.portrait import Portrait
from fewshot_reenact.models.backbones import load_content
from fewshot_reenact.models.checkpoint import load_model, save_model
from fewshot_reenact.models.dimensions import ModelDimensions
from fewshot_reenact.models.discriminator import (
    Discriminator,
    DiscriminatorDimensions,
    load_discriminator,
    save_discriminator,
)
from fewshot_reenact.models.losses import PRESETS, LossWeights, mouth_of
from fewshot_reenact.models.reenactor import Reenactor
from fewshot_reenact.models.teachers import load_teachers
from fewshot_reenact.pipelines.animate import animate
from fewshot_reenact.pipelines.finetune import choose_losses, finetune
from fewshot_reenact.rendering.textured import TexturedRenderer
from fewshot_reenact.training.tuner import Settings, Tuner, tune, usual_steps
from painted_clips import face_points, paint_face

PAPER = ModelDimensions(
    kind="paper", size=32, embedding=16, embedder_channels=(8, 8), down_channels=(8, 8), up_channels=(8, 8),
    residual_blocks=1, attention=False, raster_style="strokes",
)  # fmt: skip
TEXTURED = dataclasses.replace(
    ModelDimensions.textured(), size=32, embedding=16, embedder_channels=(8, 8), down_channels=(8, 8),
    up_channels=(8, 8), residual_blocks=1, embedder_unshuffle=2, stem=8,
)  # fmt: skip


pytestmark = pytest.mark.usefixtures("one_thread")


def frames(count: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    points = [face_points(64, opened=0.06 * t, angle=0.05 * t) for t in range(count)]
    return [paint_face(p, 64) for p in points], points


def model(dims: ModelDimensions) -> Reenactor:
    torch.manual_seed(0)
    made = Reenactor(dims)
    if dims.kind == "textured":
        torch.nn.init.normal_(made.generator.out.weight, std=0.01)  # as after training: psi matters
    return made


def opponent() -> Discriminator:
    torch.manual_seed(1)
    return Discriminator(DiscriminatorDimensions(size=32, embedding=16, channels=(8, 8), unshuffle=2, attention=False))


# ---- what learns ----


@pytest.mark.parametrize("dims", [PAPER, TEXTURED], ids=["paper", "textured"])
@pytest.mark.slow
def test_psi_and_the_row_begin_at_the_embedding_and_move_and_e_does_not(dims):
    """The fault of the most used re-implementation: both made after the optimiser, so that neither ever learnt."""
    base, d = model(dims), opponent()
    tuner = Tuner(base, *frames(3), Settings(steps=3, batch=2), discriminator=d)
    with torch.no_grad():  # P e and w0 + e, with e the mean over the frames
        each = [Tuner(base, [p], [q], Settings(steps=1)).embed([p], [q]) for p, q in zip(*frames(3), strict=True)]
        e = torch.cat(each).mean(0)
        assert torch.allclose(tuner.psi, base.eval().generator.style(e[None])[0], atol=1e-4)
        assert torch.allclose(tuner.row, d.own_row() + e, atol=2e-2), "but for a turn of spectral norm's vectors"
    start = {name: value.clone() for name, value in tuner.model.state_dict().items()}
    psi, row = tuner.psi.detach().clone(), tuner.row.detach().clone()
    d_before = [p.detach().clone() for p in tuner.discriminator.parameters()]
    looks = iter([2.0, 1.0])
    tuned = tune(tuner, evaluate=lambda model, psi: next(looks))
    assert (tuned.psi - psi).abs().max() > 1e-5 and (tuned.row - row).abs().max() > 1e-5
    assert any((p != q).any() for p, q in zip(tuner.discriminator.parameters(), d_before, strict=True))
    after = tuned.model.state_dict()
    moved = {name for name in start if not torch.equal(start[name], after[name])}
    assert any(name.startswith("generator.middle") for name in moved)
    assert not [n for n in moved if n.startswith("embedder") and "_u" not in n and "_v" not in n]
    assert not [n for n in moved if n.startswith("generator.project") and n.endswith(("original", "bias", "weight"))]
    fresh = model(dims).state_dict()
    assert all(torch.equal(v, fresh[n]) for n, v in base.state_dict().items()), "the model itself stays"


def test_it_learns_the_person_and_stops_at_the_best_held_out_frame():
    tuner = Tuner(model(TEXTURED), *frames(5), Settings(steps=30, batch=2, rate=2e-3))
    assert len(tuner.clip.frames) == 4 and len(tuner.held.truth) == 4, "one of five frames is kept aside"
    seen = []
    tuned = tune(tuner, lambda done, total: seen.append((done, total)))
    assert list(tuned.held_out) == [0, 10, 20, 30] and seen[-1] == (30, 30) and len(tuned.losses) == 30
    assert tuned.held_out[tuned.kept] == min(tuned.held_out.values()) < 0.9 * tuned.held_out[0]
    tuner.psi.data.copy_(tuned.psi)
    tuner.model.load_state_dict(tuned.model.state_dict())
    assert tuner.held_out_loss() == pytest.approx(tuned.held_out[tuned.kept], rel=1e-3), "those weights are handed back"


def test_a_run_that_only_gets_worse_hands_back_the_untuned_model(monkeypatch):
    tuner, looks = Tuner(model(TEXTURED), *frames(4), Settings(steps=2, batch=1, rate=0.5)), iter([1.0, 2.0])
    monkeypatch.setattr(tuner, "held_out_loss", lambda: next(looks))
    tuned = tune(tuner)
    assert tuned.kept == 0 and tuned.held_out == {0: 1.0, 2: 2.0}
    fresh = model(TEXTURED).state_dict()
    assert all(torch.equal(v, fresh[n]) for n, v in tuned.model.state_dict().items())


def test_a_person_is_learnt_by_the_losses_of_the_model(tmp_path):
    """A model that paints goes on with what its file says; one that corrects a warp with what was measured best."""
    paints, warps = model(PAPER), model(TEXTURED)
    said = LossWeights(0, 0, 0, 0, 0, vgg19=0.02, adversarial=1, feature_matching=10, match=80)
    save_model(paints, tmp_path / "paints.safetensors", losses=said)
    save_model(warps, tmp_path / "silent.safetensors")
    assert choose_losses(paints, tmp_path / "paints.safetensors") == said
    assert choose_losses(warps, tmp_path / "silent.safetensors") == PRESETS["person"]
    assert choose_losses(paints, tmp_path / "silent.safetensors") == PRESETS["paper-v2"]
    assert choose_losses(warps, None, "paper-v1", {"vgg19": 0.0}).vgg19 == 0
    with pytest.raises(UsageError, match=r"silent.*does not say"):
        choose_losses(warps, tmp_path / "silent.safetensors", "trained")
    with pytest.raises(UsageError, match="sharpness: no part of the loss; those there are: l1"):
        choose_losses(warps, None, "auto", {"sharpness": 1})
    with pytest.raises(UsageError, match="l1: -1 is no weight"):
        choose_losses(warps, None, "auto", {"l1": -1})


def test_each_part_of_the_loss_counts_as_it_is_weighed():
    """Twice the weight, twice the loss; the paper's content terms on the built-in network too."""
    for name in ("l1", "perceptual", "pyramid", "likeness", "vgg19", "vggface"):
        losses = []
        for weight in (0.5, 1.0):
            weights = LossWeights(**{**dict.fromkeys(("l1", "perceptual", "perceptual_mouth"), 0.0), name: weight})
            teachers = dataclasses.replace(load_teachers(), content=load_content(weights))
            tuner = Tuner(model(TEXTURED), *frames(3), Settings(steps=1, weights=weights), teachers=teachers)
            losses.append(tuner.held_out_loss())
        assert losses[1] == pytest.approx(2 * losses[0], rel=1e-4) and losses[0] > 0, name


def test_one_picture_is_joined_by_its_mirror_image():
    tuner = Tuner(model(TEXTURED), *frames(1), Settings(steps=1))
    assert len(tuner.clip.frames) == 2 and tuner.held is None
    tuned = tune(tuner)
    assert tuned.kept == 1 and tuned.held_out == {} and tuned.row is None


def test_more_frames_are_looked_at_longer():
    textured = ModelDimensions.textured()
    steps = [usual_steps(n, ModelDimensions.paper()) for n in (1, 2, 8, 32, 100)]
    assert steps == [26, 31, 48, 82, 82]
    assert usual_steps(2, textured) == 31 and usual_steps(1, textured) == 0, "what one picture shows is in its warp"


def test_a_frame_is_learnt_from_those_nearest_to_it():
    """So it will be rendered: from the two nearest. A far pose teaches what is not asked."""
    tuner = Tuner(model(TEXTURED), *frames(8), Settings(steps=1))
    seen = {}
    for number in range(200):
        target, (portrait,) = tuner.episodes._choose(np.random.default_rng(number), tuner.clip)
        seen.setdefault(target, set()).add(portrait)
    assert set(seen) == set(range(7)) and seen[0] == {1, 2, 3} and seen[6] == {3, 4, 5}


# ---- the file ----


@pytest.fixture
def person() -> Person:
    pictures, points = frames(2)
    psi = torch.randn(1, model(TEXTURED).generator.style_length)
    return Person(model(TEXTURED), psi, [Portrait(p, q) for p, q in zip(pictures, points, strict=True)], torch.ones(16))


def test_a_person_survives_the_file(person, tmp_path):
    path = tmp_path / "me.safetensors"
    save_person(person, path, note="2 frames")
    back = load_person(path)
    assert torch.equal(back.psi, person.psi) and torch.equal(back.row, person.row)
    assert np.array_equal(back.portraits[0].picture, person.portraits[0].picture), "every pixel of the first"
    assert np.abs(back.portraits[1].picture.astype(int) - person.portraits[1].picture).mean() < 4
    assert all(np.array_equal(a.points, b.points) for a, b in zip(back.portraits, person.portraits, strict=True))
    for name, value in person.model.state_dict().items():
        assert torch.allclose(back.model.state_dict()[name], value, rtol=1e-3, atol=1e-4)
    with safe_open(path, "pt") as file:
        assert file.get_tensor("pictures.0")[1:4].numpy().tobytes() == b"PNG" and file.metadata()["note"] == "2 frames"
    with pytest.raises(UsageError, match="exists already"):
        save_person(person, path)


def test_psi_reaches_the_renderer(person):
    motion = person.portraits[0].points[None]
    box = (0, 0, 64, 64)
    plain, styled = (
        next(iter(TexturedRenderer(person.model.eval(), person.portraits, box, psi=psi).render(motion)))
        for psi in (None, 3 * person.psi)
    )
    assert (plain != styled).any()
    with pytest.raises(ModelError, match="kind 'paper' has no warp"):
        TexturedRenderer(model(PAPER), person.portraits, box)


def test_files_that_are_no_person(person, tmp_path):
    path = tmp_path / "me.safetensors"
    save_model(person.model, path)
    with pytest.raises(ModelError, match=r"is no person .* weights go with --model"):
        load_person(path)
    with pytest.raises(ModelError, match="no such file"):
        load_person(tmp_path / "none.safetensors")
    save_person(person, path, overwrite=True)
    with safe_open(path, "pt") as file:
        meta, tensors = file.metadata(), {k: file.get_tensor(k).clone() for k in file.keys()}  # noqa: SIM118
    for change in ({"psi": torch.zeros(1, 3)}, {"pictures.1": torch.zeros(9, dtype=torch.uint8)}, {"points": None}):
        wrong = {k: v for k, v in {**tensors, **change}.items() if v is not None}
        save_file(wrong, path, metadata=meta)
        with pytest.raises(ModelError, match="damaged") as caught:
            load_person(path)
        assert "\n" not in str(caught.value)


# ---- the job ----


@pytest.mark.slow
def test_pictures_and_a_video_become_a_person_who_animates(tiny_model, tmp_path):
    picture, video = portrait_file(tmp_path / "me.png", FACE), film(tmp_path / "me.mp4", WALK)
    torch.manual_seed(0)
    d = Discriminator(DiscriminatorDimensions(size=64, embedding=16, channels=(8, 8), unshuffle=2, attention=False))
    weights = tmp_path / "weights" / "model.safetensors"
    weights.parent.mkdir()
    save_model(load_model(tiny_model), weights)
    save_discriminator(d, weights.with_name("discriminator.safetensors"))
    stages = set()
    made = finetune(
        [picture, video], tmp_path / "me.safetensors", model=weights, steps=2, take=3, landmarks=PaintedFaces(),
        device="cpu", progress=lambda stage, done, total: stages.add(stage), consent="Ann, by letter",
        weights={"adversarial": 0.05, "feature_matching": 0.5},
    )  # fmt: skip
    assert made.frames == 4 and made.discriminator and made.perceptual == made.identity == "built-in"
    assert stages == {"frames", "steps"} and set(made.held_out) == {0, 2}
    assert json.loads(json.dumps(made.report()))["schema"] == "fewshot-reenact/finetune/1"
    kept = load_person(made.output)
    assert kept.portraits[0].picture.shape == (120, 160, 3)
    assert len(kept.portraits) == 4 and kept.row is not None
    assert bool(made.warnings) == (made.kept_step == 0), "kept as they were, and said so"

    done = animate(
        made.output, video, tmp_path / "out.mp4", landmarks=PaintedFaces(), device="cpu", consent="Ann, by mail"
    )
    assert 'consent    "Ann, by letter" (said by who made it at fine-tuning; not checked)' in said(done.output)
    assert 'consent    "Ann, by mail" (said by who made it; not checked)' in said(done.output)
    assert done.frames == 12 and frames_of(done.output).shape == (12, 120, 160, 3)
    assert done.model == str(made.output)
    with pytest.raises(UsageError, match="holds networks of its own"):
        animate(made.output, video, tmp_path / "b.mp4", model=tiny_model, landmarks=PaintedFaces(), device="cpu")
    with pytest.raises(InputError, match="give the file alone"):
        animate([made.output, picture], video, tmp_path / "b.mp4", landmarks=PaintedFaces(), device="cpu")


def test_from_a_single_picture_the_networks_are_kept_and_it_is_said(tiny_model, tmp_path):
    """Learning from it makes others of the person's pictures worse (README): not a thing to do unasked."""
    picture = portrait_file(tmp_path / "me.png")
    options = {"model": tiny_model, "landmarks": PaintedFaces(), "device": "cpu"}
    made = finetune([picture], tmp_path / "me.safetensors", **options)
    assert made.steps == made.kept_step == 0 and "from a single one" in made.warnings[0]
    kept, base = load_person(made.output), load_model(tiny_model).state_dict()
    assert len(kept.portraits) == 1
    assert all(torch.allclose(v, base[n], rtol=1e-3, atol=1e-4) for n, v in kept.model.state_dict().items())
    asked = finetune([picture], tmp_path / "asked.safetensors", steps=1, **options)
    assert asked.steps == asked.kept_step == 1 and not asked.warnings


@pytest.mark.parametrize(("face", "left"), [("LARGEST", 90), (" 1 ", 10)])
def test_face_is_meant_as_animate_means_it(tiny_model, tmp_path, face, left):
    picture = portrait_file(tmp_path / "two.png", (10, 30, 40, 50), (90, 20, 60, 70))
    video = film(tmp_path / "two.mp4", [[(10, 30, 40, 50), (90, 20, 60, 70)]] * 2)
    for number, given in enumerate((picture, video)):
        made = finetune(
            given, tmp_path / f"{number}.safetensors", face=face, take=1, model=tiny_model, landmarks=PaintedFaces(),
            device="cpu",
        )  # fmt: skip
        assert abs(load_person(made.output).portraits[0].points[:, 0].min() - left) < 3


def test_two_pictures_are_enough_to_hold_one_out():
    tuner = Tuner(model(TEXTURED), *frames(2), Settings(steps=1))
    assert len(tuner.clip.frames) == 2, "one, and its mirror image" and tuner.held is not None
    assert list(tune(tuner).held_out) == [0, 1]


def test_a_discriminator_of_mouths_is_shown_mouths(tmp_path):
    d = opponent()
    d.region = "mouth"
    save_discriminator(d, tmp_path / "d.safetensors")
    tuner = Tuner(
        model(TEXTURED), *frames(2), Settings(steps=1), discriminator=load_discriminator(tmp_path / "d.safetensors")
    )
    seen = []
    tuner.discriminator.register_forward_hook(lambda module, given, made: seen.append(given))
    x = tuner._batch(tuner.episodes, range(2))
    tuner._scores(x.truth, x)
    assert torch.equal(seen[0][0], mouth_of(x.truth, 2.0)) and torch.equal(
        seen[0][1], mouth_of(x.faces.driver_raster, 2.0)
    )


def said(path) -> str:
    return run("verify", path).stdout


def test_a_consent_text_that_cannot_be_kept(person, tmp_path):
    text, out = portrait_file(tmp_path / "me.png"), tmp_path / "me.safetensors"
    assert "consent text is empty" in complaint(run("finetune", text, "-o", out, "--consent", " "), 2)
    assert not out.exists()
    save_person(person, out, consent="a\x1b[31m")  # as a hostile file might
    assert "damaged" in complaint(run("animate", out, "motion:nod", "-o", tmp_path / "o.mp4", "--device", "cpu"), 4)
    assert not (tmp_path / "o.mp4").exists()


def test_what_is_refused(tmp_path, assets):
    out, text = tmp_path / "me.safetensors", tmp_path / "notes.txt"
    text.write_text("no picture")
    assert "neither a picture nor a video" in complaint(run("finetune", text, "-o", out, "--device", "cpu"), 3)
    assert "no such file" in complaint(run("finetune", tmp_path / "no.jpg", "-o", out, "--device", "cpu"), 3)
    assert "cannot write this kind" in complaint(run("finetune", text, "-o", tmp_path / "me.pt"), 2)
    assert "no such feature network" in complaint(
        run("finetune", text, "-o", out, "--perceptual", tmp_path / "x", "--device", "cpu"), 4
    )
    torch.manual_seed(0)
    save_discriminator(
        Discriminator(DiscriminatorDimensions(size=32, embedding=24, channels=(8, 8))),
        tmp_path / "of another.safetensors",
    )
    assert "has rows of 24 numbers, the model's embeddings have 256" in complaint(
        run("finetune", text, "-o", out, "--discriminator", tmp_path / "of another.safetensors", "--device", "cpu"), 4
    )
    assert "no such discriminator" in complaint(
        run("finetune", text, "-o", out, "--discriminator", tmp_path / "x", "--device", "cpu"), 4
    )
    film(tmp_path / "empty.mp4", [[]] * 3)
    with pytest.raises(InputError, match="no face was found"):
        finetune([tmp_path / "empty.mp4"], out, landmarks=PaintedFaces(), device="cpu")
    assert not out.exists()
