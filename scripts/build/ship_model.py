#!/usr/bin/env python3
"""Put a trained model into the package, with its card, and the discriminator that it was trained with.

    scripts/build/ship_model.py run/meta --refiners run/mouth --strength 0.75

writes src/fewshot_reenact/weights/textured.safetensors and textured.md and, where the run has one,
discriminator.safetensors and discriminator.md.
"""

import dataclasses
import json
from pathlib import Path

import click
from safetensors import safe_open

from fewshot_reenact.files import sha256
from fewshot_reenact.models.cards import built_in_head
from fewshot_reenact.models.checkpoint import DEFAULT_MODEL, load_losses, load_model, save_model
from fewshot_reenact.models.discriminator import DISCRIMINATOR, load_discriminator, save_discriminator
from fewshot_reenact.models.reenactor import Reenactor
from fewshot_reenact.training.examining import EPISODES
from fewshot_reenact.training.refiner.train import join

CARD = """# textured.safetensors

The default model (`models/reenactor.py`): embedder and textured generator, {parameters:.2f} M parameters, float16,
{size:.1f} MB. The dimensions are in the file's metadata.

- **Made with** `reenact train`: {steps} steps of {batch} episodes on a two-core CPU ({episodes} episodes), averaged
  weights, seed {seed}{begun}. The settings of every stage are in docs/training-log.md.
- **Refiners** (`models/refiner.py`): {refiners}.
- **Data**: {data} of research excerpts at 256 x 256, not in this repository; points by the built-in extractor.
  People of the validation clips are not among them.
- **Loss**: L1 weighted about mouth and eyes, relative L1 of a small distilled VGG-19's features of face and mouth, and
  L1 of the correction of the flow to what optical flow sees.
- **Last training figures** (mean of the last {log} steps): {figures}.
- **Figures on people it never saw** are in the README, "Measured", also by how far the head is turned.
- **Limits**: trained on adults talking to a camera; large head turns, wide open mouths, moustaches and glasses come out
  worst; portraits in three-quarter view smile crookedly. Nothing is claimed about groups of people: the data carries no
  such labels. Made for research; its data are research excerpts.

SHA-256: `{digest}`
"""

OPPONENT = """# discriminator.safetensors

The discriminator of the default model (`models/discriminator.py`; Zakharov et al. 2019, section 3.2): V, w0 and b,
without W, the rows of the training videos; {parameters:.2f} M parameters, float16, {size:.1f} MB. `reenact finetune`
begins a person's row at w0 + e and goes on with it; nothing else reads it.

- **Made with** `reenact train`, beside the weights of textured.safetensors: {steps} steps of {batch} episodes,
  {updates} updates of D a step, a row for each training video.
- **Judged** on people it never saw, with their embedding in place of a row: it scores the filmed face above the made
  one in {told:.0%} of {episodes} episodes (50%: it guesses). It counted for the generator where that was {judges:.0%}
  or more.
- **Data**: those of textured.md. It says nothing of a picture but whether it looks like frames of these films.

SHA-256: `{digest}`
"""


@click.command()
@click.argument("run", type=click.Path(exists=True, path_type=Path))
@click.option("--data", default="614 clips of 319 people", show_default=True, help="For the card: what it saw.")
@click.option("--begun", default="", help="For the card: what the run began with, e.g. 'the weights of ...'.")
@click.option(
    "--refiners",
    type=click.Path(exists=True, path_type=Path),
    multiple=True,
    help="Run folders of configs/refiner.yaml.",
)
@click.option(
    "--refiners-of",
    "kept",
    type=click.Path(exists=True, path_type=Path),
    help="Weights whose refiners are taken as they are, in place of --refiners.",
)
@click.option("--strength", type=click.FloatRange(0, 1), default=1.0, help="How much of the refiners' change counts.")
def main(run: Path, data: str, begun: str, refiners: tuple[Path, ...], kept: Path | None, strength: float) -> None:
    config = json.loads((run / "config.json").read_text())
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()][-10:]
    with safe_open(str(run / "model.safetensors"), "pt") as file:
        step = int(file.metadata()["note"].split()[1])
    keys = ("l1", "perceptual", "perceptual_mouth", "l1_over_warp")
    figures = ", ".join(f"{key} {sum(row[key] for row in rows) / len(rows):.4f}" for key in keys)
    losses = load_losses(run / "model.safetensors")
    model, refined = join(load_model(run / "model.safetensors"), list(refiners), strength)
    if kept is not None:
        model, refined = with_refiners_of(model, load_model(kept)), f"those of the weights {sha256(kept)[:8]}"
    note = f"textured, step {step}; refined: {refined or 'nothing'}"
    save_model(model, DEFAULT_MODEL, note=note, half=True, losses=losses)
    text = CARD.format(
        parameters=sum(p.numel() for p in model.parameters()) / 1e6,
        size=DEFAULT_MODEL.stat().st_size / 1e6,
        steps=step,
        batch=config["batch"],
        episodes=step * config["batch"],
        seed=config["seed"],
        data=data,
        begun=f"; begun with {begun}" if begun else "",
        log=len(rows) * config["log_every"],
        figures=figures,
        refiners=_said_of(refined, bool(refiners), model),
        digest=sha256(DEFAULT_MODEL),
    )
    DEFAULT_MODEL.with_suffix(".md").write_text(built_in_head("textured") + "\n" + text)
    if (run / DISCRIMINATOR).is_file():
        ship_discriminator(run, config, rows[-1], step)
    click.echo(f"{DEFAULT_MODEL}: step {step}, {DEFAULT_MODEL.stat().st_size / 1e6:.1f} MB; {figures}")


def with_refiners_of(model: Reenactor, other: Reenactor) -> Reenactor:
    """The model with another one's refiners, as they are."""
    whole = Reenactor(dataclasses.replace(model.dims, refiners=other.dims.refiners))
    theirs = {name: value for name, value in other.state_dict().items() if name.startswith("refiners.")}
    whole.load_state_dict(model.state_dict() | theirs)
    return whole


def _said_of(refined: str, learnt: bool, model: Reenactor) -> str:
    """For the card."""
    if not model.dims.refiners:
        return "none"
    used = f"{model.dims.refiners[0].strength:.0%} of the change is used"
    if not learnt:
        return f"{refined}, which have not learnt from these faces; {used}"
    how = "with `training/refiner/train.py` and `configs/refiner.yaml`, with a discriminator"
    return f"{refined} of 16 parts {how}; {used}"


def ship_discriminator(run: Path, config: dict, last: dict, step: int) -> None:
    """D without W, and its card. last: the last line of the run's log."""
    path = DEFAULT_MODEL.with_name(DISCRIMINATOR)
    network = load_discriminator(run / DISCRIMINATOR)
    save_discriminator(network, path, half=True)
    settings = config["adversarial"]
    text = OPPONENT.format(
        parameters=sum(p.numel() for p in network.parameters()) / 1e6,
        size=path.stat().st_size / 1e6,
        steps=step - settings["start"],
        batch=config["batch"],
        updates=settings["updates"],
        told=last["told"],
        episodes=EPISODES,
        judges=settings["judges"],
        digest=sha256(path),
    )
    path.with_suffix(".md").write_text(built_in_head("discriminator") + "\n" + text)
    click.echo(f"{path}: {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
