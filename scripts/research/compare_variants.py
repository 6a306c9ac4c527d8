#!/usr/bin/env python3
"""Other ways of making a face, at equal compute: which is worth training for days?

    scripts/research/compare_variants.py train --data run/clips --minutes 10 --run run/ways              # every way
    scripts/research/compare_variants.py train --data run/clips --minutes 10 --run run/ways "face 192"   # one
    scripts/research/compare_variants.py table --data run/clips_val --run run/ways # a Markdown table

Each way (scripts/research/variants.py) is trained from random weights for so many minutes of processor time: time
that other
programs take does not count. A run goes on when the command is given again with more minutes. The table's errors are
those of fixed pairs of frames of other people, all in the same face frame of 192 pixels, against the plain warp's.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import cv2
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from fewshot_reenact.files import partial_file
from fewshot_reenact.geometry.topology import LEFT_EYE, MOUTH, RIGHT_EYE
from fewshot_reenact.models.losses import LossWeights, mouth_of, textured_loss
from fewshot_reenact.models.perceptual import FeatureNet, relative_l1
from fewshot_reenact.rendering.warp import sample
from fewshot_reenact.training.config import DataConfig
from fewshot_reenact.training.data.clips import LoadedClips, load_clips
from variants import WAYS, Judged, Way, frames_of, scene, truth_of

SHOWN = 192  # side of the face frame of the table
BATCH, RATE, WARMUP = 8, 5e-4, 50
WEIGHTS = LossWeights(l1=4.0, mouth=6.0, eyes=5.0, perceptual=0.25, perceptual_mouth=1.0)
NET = Path("../shared/data/nets/vgg19_distilled_relu1_to_5.safetensors")
Face = Callable[[dict[str, Tensor]], Tensor]
data_option = click.option("--data", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
run_option = click.option("--run", type=click.Path(file_okay=False, path_type=Path), required=True)
net_option = click.option("--net", type=click.Path(dir_okay=False, path_type=Path), default=NET, show_default=True)


@click.group(help=__doc__)
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True)
def main(threads: int) -> None:
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)


@main.command(name="train")
@data_option
@run_option
@net_option
@click.option("--minutes", type=click.FloatRange(0, min_open=True), required=True, help="Processor time for each way.")
@click.argument("names", nargs=-1, type=click.Choice(list(WAYS)))
def train_all(data: Path, run: Path, net: Path, minutes: float, names: tuple[str, ...]) -> None:
    """Train ways, all of them or those named."""
    run.mkdir(parents=True, exist_ok=True)
    clips, features = load_clips(data, 2), FeatureNet(net, 1)
    for name in names or WAYS:
        train(name, clips, features, run, 60 * minutes)


def train(name: str, clips: LoadedClips, features: FeatureNet, run: Path, seconds: float) -> None:
    """One way, until it has had so many seconds of processor time. The rate falls linearly over them."""
    torch.manual_seed(0)
    way = WAYS[name][1]().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.Adam(way.parameters(), lr=RATE, betas=(0.5, 0.99))
    averaged = torch.optim.swa_utils.AveragedModel(way, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.99))
    file = run / f"{name.replace(' ', '_')}.pt"
    state = torch.load(file, weights_only=True) if file.exists() else {"step": 0, "seconds": 0.0}
    step, used = int(state["step"]), float(state["seconds"])
    if step:
        way.load_state_dict(state["way"])
        averaged.load_state_dict(state["averaged"])
        optimiser.load_state_dict(state["optimiser"])
    size = way.dims.size
    config = DataConfig(clips="", point_noise=0.004)  # type: ignore[call-arg]
    episodes = way.episodes(clips, config, size, way.dims.raster_style, 1, 10**8)
    loader = DataLoader(Judged(episodes), BATCH, sampler=range(step * BATCH, 10**8))
    before, began = used, time.process_time()
    with tqdm(desc=name, total=round(seconds), initial=round(used), unit="s", mininterval=10) as bar:
        for batch in loader:
            if used >= seconds:
                break
            truth, points = truth_of(batch, size)
            loss, parts = textured_loss(way(batch, size), truth, points, features, WEIGHTS)
            for group in optimiser.param_groups:
                group["lr"] = RATE * min(1.0, (step + 1) / WARMUP) * max(0.02, 1 - used / seconds)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(way.parameters(), 1.0)
            optimiser.step()
            averaged.update_parameters(way)
            step, used = step + 1, before + time.process_time() - began
            bar.update(round(used) - bar.n)
            bar.set_postfix(step=step, loss=float(loss.detach()), l1=float(parts["l1"]))
    state = {"step": step, "seconds": used, "way": way.state_dict(), "averaged": averaged.state_dict()}
    with partial_file(file, overwrite=True) as partial:
        torch.save(state | {"optimiser": optimiser.state_dict()}, partial)


@main.command()
@data_option
@run_option
@net_option
@click.option("--pairs", type=click.IntRange(8), default=96, show_default=True)
def table(data: Path, run: Path, net: Path, pairs: int) -> None:
    """Measure the ways trained so far on people of --data, and print a Markdown table."""
    clips, features = load_clips(data, 4), FeatureNet(net, 1)
    rows = {}
    for name, (about, make) in WAYS.items():
        file = run / f"{name.replace(' ', '_')}.pt"
        if not file.exists():
            continue
        state = torch.load(file, weights_only=True)
        averaged = torch.optim.swa_utils.AveragedModel(make())
        averaged.load_state_dict(state["averaged"])
        way = averaged.module.eval()  # a copy of what it was given
        frame = time_of(way, batches(way, clips, 8))
        shown = measure(lambda batch, way=way: way(batch, SHOWN), batches(way, clips, pairs), features)  # type: ignore[misc]
        rows[name] = {"about": about, "steps": state["step"], "minutes": state["seconds"] / 60, "frame": frame, **shown}
    plain = WAYS["face 128"][1]()
    warp = measure(warp_alone, batches(plain, clips, pairs), features)
    (run / "table.json").write_text(json.dumps({"warp": warp, **rows}, indent=2) + "\n")
    click.echo("| way | steps of 8 | ms a frame | " + " | ".join(warp) + " |")
    click.echo("|---" * (3 + len(warp)) + "|")
    for name, row in rows.items():
        change = " | ".join(f"{100 * (row[key] / value - 1):+.1f} %" for key, value in warp.items())
        click.echo(f"| {name}: {row['about']} | {row['steps']} | {row['frame']:.0f} | {change} |")


def batches(way: Way, clips: LoadedClips, pairs: int) -> list[dict[str, Tensor]]:
    """Fixed pairs, as their pictures are: no tint, points as the clips have them."""
    config = DataConfig(clips="", point_noise=0, colour=0)  # type: ignore[call-arg]
    episodes = way.episodes(clips, config, way.dims.size, way.dims.raster_style, 7, pairs)
    return list(DataLoader(Judged(episodes), BATCH))


def warp_alone(batch: dict[str, Tensor]) -> Tensor:
    x = scene(batch)
    return sample(x.pictures, x.flow(frames_of(x.driver, SHOWN), SHOWN))


@torch.no_grad()
def measure(make: Face, given: list[dict[str, Tensor]], features: FeatureNet) -> dict[str, float]:
    """Means over all pairs: L1 about mouth, about eyes and of the face; relative feature distance of mouth and face."""
    sums: dict[str, float] = {}
    for batch in given:
        truth, points = truth_of(batch, SHOWN)
        made, truth = make(batch).clamp(-1, 1) / 2 + 0.5, truth / 2 + 0.5
        error = (made - truth).abs().mean(1, keepdim=True)
        values = {
            "mouth L1": (error * _near(points, MOUTH, 0.17)).sum((1, 2, 3)),
            "eyes L1": sum((error * _near(points, eye, 0.09)).sum((1, 2, 3)) / 2 for eye in (LEFT_EYE, RIGHT_EYE)),
            "face L1": error.mean((1, 2, 3)),
        }
        small = [F.interpolate(x, 128, mode="area") for x in (made, truth)]
        features_of = {"mouth features": [mouth_of(x, 1.5) for x in small], "face features": small}
        for name, (a, b) in features_of.items():
            values[name] = torch.stack([relative_l1(features, a[i : i + 1], b[i : i + 1]) for i in range(len(a))])
        for name, value in values.items():
            sums[name] = sums.get(name, 0.0) + float(value.mean()) / len(given)
    return sums


def _near(points: Tensor, part: Any, reach: float) -> Tensor:
    """A weight about one part of the face, (B, 1, SHOWN, SHOWN), of sum 1 for each face. reach: share of the side."""
    line = torch.arange(SHOWN, dtype=points.dtype)
    away = (line - points[:, part].mean(1)[..., None]) / (reach * SHOWN)  # (B, 2, SHOWN): x, y
    weight = torch.exp(-(away[:, 1, :, None].square() + away[:, 0, None, :].square()))[:, None]
    return weight / weight.sum((1, 2, 3), keepdim=True)


@torch.no_grad()
def time_of(way: Way, given: list[dict[str, Tensor]]) -> float:
    """Milliseconds for a face, the warp and the cutting included, on this many threads; the best of three."""
    best = float("inf")
    for _ in range(3):
        began = time.process_time()
        way(given[0], way.dims.size)
        best = min(best, time.process_time() - began)
    return 1000 * best / BATCH


if __name__ == "__main__":
    main()
