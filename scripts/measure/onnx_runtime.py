#!/usr/bin/env python3
"""PyTorch beside ONNX Runtime, in float32 and in int8, on real faces: milliseconds a face, and what int8 changes.

    scripts/measure/onnx_runtime.py --write
    scripts/measure/onnx_runtime.py --turns 5 --sheet out/sheet.png

The ways take turns, so other work on the machine meets all of them. Faces are what the renderer hands to the networks:
portraits that int8's ranges were not set by, each moved by one of two drivers in its most telling moments. The sheet
has two rows a portrait: PyTorch, ONNX Runtime, int8, and int8's difference from PyTorch times eight.
"""

import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from PIL import Image
from torch import Tensor

import tables
from benchmark import ASSETS, square_driver, square_portrait
from fewshot_reenact import AnimateOptions, Session
from fewshot_reenact.geometry import align
from fewshot_reenact.inputs.driver import DriverSource
from fewshot_reenact.inputs.portrait import Portrait, crop_portrait
from fewshot_reenact.inputs.portrait_files import PortraitSource
from fewshot_reenact.landmarks.builtin import BuiltinLandmarks
from fewshot_reenact.landmarks.graphs import detector_graph, points_graph
from fewshot_reenact.media.reader import VideoReader
from fewshot_reenact.models.checkpoint import load_model
from fewshot_reenact.models.onnx_graphs import embedder_graph, generator_graph, refiner_graph
from fewshot_reenact.models.onnx_runtime import OnnxNetwork, OnnxReenactor, runtime_version
from fewshot_reenact.models.reenactor import FaceInputs, Reenactor
from fewshot_reenact.pipelines.options import RUNTIMES
from fewshot_reenact.rendering.calibration import Watched, int8_graphs, joined
from portrait_sheet import fit, render, telling

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
SIDE, MOMENTS = 512, 6
Way = Callable[[], Any]


# ---- faces and graphs


@dataclass
class Scene:
    """Portraits and the moments of the driver that moves them."""

    people: list[Portrait]
    driver: Path
    motion: Any
    moments: np.ndarray

    def rendered(self, model: Any) -> list[list[np.ndarray]]:
        return [render(model, one, self.motion, self.driver, self.moments, True, False) for one in self.people]


def scene(backend: BuiltinLandmarks, portraits: list[Path], driver: Path) -> Scene:
    people = [crop_portrait(PortraitSource([path]).load(backend)[0][0], SIDE) for path in portraits]
    motion = DriverSource.parse(driver, end=6.0).measure(backend).motion
    return Scene(people, driver, motion, telling(motion.filled().points, MOMENTS))


# ---- time


def by_turns(ways: dict[str, Way], turns: int) -> dict[str, tuple[float, float]]:
    """Milliseconds of each way: of processor time, lower quartile, and on the clock, the least."""
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    with torch.inference_mode():
        for turn in range(turns + 2):
            for name, way in ways.items():
                began, used = time.perf_counter(), time.process_time()
                way()
                if turn > 1:
                    spent[name].append((time.process_time() - used, time.perf_counter() - began))
    table = {name: np.array(some) * 1000 for name, some in spent.items()}
    return {name: (float(np.percentile(some[:, 0], 25)), float(some[:, 1].min())) for name, some in table.items()}


def cut(rows: list[Tensor], batch: int) -> list[Tensor]:
    return [x[:batch].contiguous() for x in rows]


def timings(
    model: Reenactor, backend: BuiltinLandmarks, rows: dict[str, list[Tensor]], graphs: dict[str, Any], turns: int
) -> list[str]:
    def torch_way(network: str, given: list[Tensor]) -> Way:
        if network == "generator":
            *pictures, style = given
            return lambda: model(FaceInputs(*pictures), style, style)
        if network == "refiner":
            *pictures, embedding = given
            return lambda: model.refine(FaceInputs(*pictures), embedding)
        if network == "embedder":
            return lambda: model.embed(given[0][None], given[1][None])
        (x,) = (one.contiguous(memory_format=torch.channels_last) for one in given)
        return lambda: backend.network.measure(x) if network == "points" else backend.detector(x)

    lines = ["| network | batch | threads | PyTorch | ONNX Runtime | int8 |", "|---|---|---|---|---|---|"]
    for threads in (1, 2):
        torch.set_num_threads(threads)
        opened = {name: [OnnxNetwork(data) for data in some] for name, some in graphs.items()}
        for network, sessions in opened.items():
            for batch in (1, 4) if network != "detector" else (1,):
                given = cut(rows[network], batch)
                ways = {"torch": torch_way(network, given)}
                ways |= {str(i): lambda one=one, x=given: one(*x) for i, one in enumerate(sessions)}
                found = by_turns(ways, turns)
                cells = [f"{a / batch:.1f} ({b / batch:.1f})" for a, b in found.values()] + [""]
                lines.append(f"| {network} | {batch} | {threads} | {' | '.join(cells[:3])} |")
                click.echo(lines[-1])
    return lines


# ---- quality


def psnr(error: np.ndarray, peak: float) -> float:
    return float(10 * np.log10(peak**2 / np.mean(np.square(error, dtype=np.float64))))


def quality(
    model: Reenactor, rows: dict[str, list[Tensor]], graphs: dict[str, list[bytes]], pictures: list[np.ndarray]
) -> list[str]:
    """pictures: of all frames by PyTorch, ONNX Runtime and int8, (N, H, W, 3) uint8 each."""
    *faces, style = rows["generator"]
    *large, embedding = rows["refiner"]
    with torch.inference_mode():
        plain = model(FaceInputs(*faces), style, style)
        finished = model.refine(FaceInputs(*large), embedding)
    truth = pictures[0].astype(int)
    lines = [
        "| | PSNR of the change of colour, dB | error of the shift, pixels | PSNR of the finished face, dB | "
        "PSNR of whole pictures, dB | pixels within 1 of 255 |",
        "|---" * 6 + "|",
    ]
    for name, which in (("ONNX Runtime", 0), ("int8", 1)):
        colour, shift = OnnxNetwork(graphs["generator"][which])(*rows["generator"])
        refined = OnnxNetwork(graphs["refiner"][which])(*rows["refiner"])
        away = np.abs(pictures[which + 1].astype(int) - truth)
        cells = [
            f"{psnr((colour - plain.colour).numpy(), 2):.1f}",
            f"{float((shift - plain.shift).abs().mean()):.4f}",
            f"{psnr((refined - finished).numpy(), 2):.1f}",
            f"{psnr(away, 255):.1f}",
            f"{(away.max(-1) <= 1).mean():.3%}",
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def sheet(path: Path, made: list[list[list[np.ndarray]]], cell: int = 320) -> None:
    """made: of each way, of each portrait, its pictures."""
    rows = []
    for ways in zip(*made, strict=True):
        for moment in (1, -2):
            plain, other, coarse = (way[moment] for way in ways)
            away = np.abs(coarse.astype(int) - plain.astype(int)) * 8
            row = [plain, other, coarse, np.minimum(away, 255).astype(np.uint8)]
            rows.append(np.concatenate([fit(picture, cell) for picture in row], 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate(rows)).save(path)


# ---- the whole of it


def whole(seconds: float, turns: int) -> list[str]:
    """`animate` and `Session` from beginning to end: processor ms a frame without the start; seconds of the start."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        portrait = square_portrait(ASSETS / "grace_hopper.jpg", folder)
        driver = square_driver(ASSETS / "driver.mp4", folder, seconds)
        with VideoReader(driver) as reader:
            frames = [frame.picture for frame in reader][:60]
        spent: dict[str, list[list[float]]] = {runtime: [] for runtime in RUNTIMES}
        for _ in range(turns):
            for runtime, lines in spent.items():
                lines.append(one_run(portrait, driver, folder / "out.mp4", frames, AnimateOptions(runtime=runtime)))
    head = "| runtime | ms a frame of `animate` | ms a frame of `Session`, median | seconds to begin |"
    lines = [head, "|---|---|---|---|"]
    for runtime, some in spent.items():
        animated, live, start = np.min(some, 0)
        lines.append(f"| `{runtime}` | {animated:.1f} | {live:.1f} | {start:.1f} |")
    return lines


def one_run(portrait: Path, driver: Path, out: Path, frames: list[np.ndarray], options: AnimateOptions) -> list[float]:
    """Processor time: ms a frame of a whole driver, ms a frame alone, seconds until a session is there."""
    began = time.process_time()
    with Session(portrait, options) as session:
        start = time.process_time() - began
        began = time.process_time()
        made = session.animate(driver, out, overwrite=True)
        animated = 1000 * (time.process_time() - began) / made.frames
        alone = []
        for frame in frames:
            began = time.process_time()
            session.frame(frame)
            alone.append(1000 * (time.process_time() - began))
    return [animated, float(np.median(alone)), start]


@click.command(help=__doc__)
@click.option("--data", type=click.Path(exists=True, path_type=Path), default=SHARED)
@click.option("--turns", default=15, show_default=True)
@click.option("--seconds", default=6.0, show_default=True, help="Of the driver of the whole runs.")
@click.option("--sheet", "picture", type=click.Path(path_type=Path), help="A picture to look at.")
@click.option("--write", is_flag=True, help="Put the tables into docs/results.md, between their markers.")
def main(data: Path, turns: int, seconds: float, picture: Path | None, write: bool) -> None:
    click.echo(
        f"torch {torch.__version__}, onnxruntime {runtime_version()}, {os.cpu_count()} processors, load average "
        f"{os.getloadavg()[0]:.1f}"
    )
    backend, model = BuiltinLandmarks(), load_model()
    coarse = int8_graphs(model, backend)
    found = {"generator": generator_graph(model), "refiner": refiner_graph(model)}
    graphs: dict[str, list[bytes]] = {name: [graph.to_onnx(), coarse[name]] for name, graph in found.items()}
    paths = sorted((data / "portraits").glob("*.jpg"))
    drivers = [data / "drivers" / f"{who}_expressions.mp4" for who in ("man", "woman")]
    scenes = [scene(backend, paths[half::2], driver) for half, driver in enumerate(drivers)]
    watched = Watched(model)
    ways = [watched, *(OnnxReenactor(model, *(graphs[name][which] for name in found)) for which in (0, 1))]
    made = [[shown for one in scenes for shown in one.rendered(way)] for way in ways]
    if picture is not None:
        sheet(picture, made)
    rows = {"generator": joined(watched.generator), "refiner": joined(watched.refiner)}
    flat = [np.stack([shown for some in way for shown in some]) for way in made]
    tabled = {"onnx-int8": quality(model, rows, graphs, flat)}
    click.echo("\n".join(tabled["onnx-int8"]))
    for name, graph in (
        ("embedder", embedder_graph(model)),
        ("points", points_graph(backend.network)),
        ("detector", detector_graph(backend.detector)),
    ):
        graphs[name] = [graph.to_onnx()]
    people = scenes[0].people[:4]
    rows["embedder"] = [x[:4] for x in rows["generator"][1:3]]
    rows["points"] = [signed([align.cut(one.picture, align.crop_matrix(align.anchors(one.points))) for one in people])]
    rows["detector"] = [signed([fit(people[0].picture, 448)])]
    tabled["onnx-speed"] = timings(model, backend, rows, graphs, turns)
    torch.set_num_threads(os.cpu_count() or 1)
    tabled["onnx-whole"] = whole(seconds, max(2, turns // 5))
    click.echo("\n".join(tabled["onnx-whole"]))
    if write:
        for name, lines in tabled.items():
            click.echo(tables.write(name, "\n".join(lines)))


def signed(pictures: list[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1


if __name__ == "__main__":
    main()
