#!/usr/bin/env python3
"""PyTorch beside ONNX Runtime, in float32 and in int8, on real faces: milliseconds a face, and what int8 changes.

    scripts/measure/onnx_runtime.py --write
    scripts/measure/onnx_runtime.py --turns 5 --sheet out/sheet.png

The ways take turns, so other work on the machine meets all of them. Faces are what the renderer hands to the networks:
the portraits of one half, moved by one driver, set int8's ranges; those of the other half by the other driver are
measured.
The sheet has a row a portrait: PyTorch, ONNX Runtime, int8, and int8's difference from PyTorch times eight.
"""

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnxruntime
import torch
from onnxruntime import quantization
from onnxruntime.quantization.shape_inference import quant_pre_process
from PIL import Image
from torch import Tensor

import tables
from fewshot_reenact.geometry import align
from fewshot_reenact.inputs.driver import DriverSource
from fewshot_reenact.inputs.portrait import Portrait, crop_portrait
from fewshot_reenact.inputs.portrait_files import PortraitSource
from fewshot_reenact.landmarks.builtin import BuiltinLandmarks
from fewshot_reenact.landmarks.graphs import detector_graph, points_graph
from fewshot_reenact.models.checkpoint import load_model
from fewshot_reenact.models.onnx_graphs import Graph, embedder_graph, generator_graph, refiner_graph
from fewshot_reenact.models.onnx_runtime import OnnxNetwork, OnnxReenactor
from fewshot_reenact.models.reenactor import Correction, FaceInputs, Reenactor
from portrait_sheet import fit, render, telling

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
SIDE, MOMENTS = 512, 6
Way = Callable[[], Any]


@dataclass
class Watched:
    """A model that keeps what it is given: a tensor of rows for each input of each graph."""

    model: Reenactor
    seen: dict[str, list[list[Tensor]]] = field(
        default_factory=lambda: {"embedder": [], "generator": [], "refiner": []}
    )

    @property
    def dims(self) -> Any:
        return self.model.dims

    def embed(self, portraits: Tensor, rasters: Tensor) -> Tensor:
        self.seen["embedder"].append([portraits[0].clone(), rasters[0].clone()])
        return self.model.embed(portraits, rasters)

    def __call__(self, faces: FaceInputs, embedding: Tensor, psi: Tensor | None = None) -> Correction:
        style = self.model.generator.style(embedding) if psi is None else psi
        pictures = [faces.warped, faces.source, faces.source_raster, faces.driver_raster, faces.visible]
        self.seen["generator"].append([x.clone() for x in (*pictures, style)])
        return self.model(faces, embedding, psi)

    def refine(self, faces: FaceInputs, embedding: Tensor) -> Tensor:
        pictures = [faces.warped, faces.source, faces.source_raster, faces.driver_raster]
        self.seen["refiner"].append([x.clone() for x in (*pictures, embedding)])
        return self.model.refine(faces, embedding)

    def rows(self, network: str) -> list[Tensor]:
        return [torch.cat(some) for some in zip(*self.seen[network], strict=True)]


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


class Rows(quantization.CalibrationDataReader):  # type: ignore[misc]
    """The rows of some inputs, one by one."""

    def __init__(self, graph: Graph, rows: list[Tensor]):
        names = [port.name for port in graph.inputs]
        self.left: Iterator[dict[str, np.ndarray]] = iter(
            [{name: x[i : i + 1].numpy() for name, x in zip(names, rows, strict=True)} for i in range(len(rows[0]))]
        )

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.left, None)


def in_int8(graph: Graph, rows: list[Tensor]) -> bytes:
    """Convolutions in int8, weights by the channel, ranges from these rows."""
    with tempfile.TemporaryDirectory() as name:
        plain, ready, made = (Path(name) / f"{one}.onnx" for one in ("plain", "ready", "made"))
        plain.write_bytes(graph.to_onnx())
        quant_pre_process(str(plain), str(ready), skip_symbolic_shape=True)
        quantization.quantize_static(
            str(ready),
            str(made),
            Rows(graph, rows),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            op_types_to_quantize=["Conv"],
        )
        return made.read_bytes()


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


def sheet(path: Path, made: list[list[list[np.ndarray]]], cell: int = 256) -> None:
    """made: of each way, of each portrait, its pictures."""
    rows = []
    for ways in zip(*made, strict=True):
        row = []
        for way in ways:
            row += [fit(picture, cell) for picture in way[:2]]
        away = np.abs(ways[2][0].astype(int) - ways[0][0].astype(int)) * 8
        rows.append(np.concatenate([*row, fit(np.minimum(away, 255).astype(np.uint8), cell)], 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate(rows)).save(path)


@click.command(help=__doc__)
@click.option("--data", type=click.Path(exists=True, path_type=Path), default=SHARED)
@click.option("--turns", default=15, show_default=True)
@click.option("--portraits", default=12, show_default=True, help="At most, of both halves together.")
@click.option("--sheet", "picture", type=click.Path(path_type=Path), help="A picture to look at.")
@click.option("--write", is_flag=True, help="Put the tables into docs/results.md, between their markers.")
def main(data: Path, turns: int, portraits: int, picture: Path | None, write: bool) -> None:
    click.echo(
        f"torch {torch.__version__}, onnxruntime {onnxruntime.__version__}, {os.cpu_count()} processors, load "
        f"average {os.getloadavg()[0]:.1f}"
    )
    backend, model = BuiltinLandmarks(), load_model()
    paths = sorted((data / "portraits").glob("*.jpg"))[:portraits]
    halves = [
        scene(backend, paths[half::2], data / "drivers" / f"{driver}_expressions.mp4")
        for half, driver in ((0, "man"), (1, "woman"))
    ]
    watched = [Watched(model), Watched(model)]
    made = [[halves[0].rendered(watched[0]), halves[1].rendered(watched[1])][1]]
    graphs: dict[str, list[Any]] = {}
    for name, graph in (("generator", generator_graph(model)), ("refiner", refiner_graph(model))):
        graphs[name] = [graph.to_onnx(), in_int8(graph, watched[0].rows(name))]
    for which in (0, 1):
        other = OnnxReenactor(model, graphs["generator"][which], graphs["refiner"][which])
        made.append(halves[1].rendered(other))
    if picture is not None:
        sheet(picture, made)
    rows = {name: watched[1].rows(name) for name in watched[1].seen}
    flat = [np.stack([picture for some in way for picture in some]) for way in made]
    second = quality(model, rows, graphs, flat)
    click.echo("\n".join(second))
    for name, graph in (
        ("embedder", embedder_graph(model)),
        ("points", points_graph(backend.network)),
        ("detector", detector_graph(backend.detector)),
    ):
        graphs[name] = [graph.to_onnx()]
    crops = [align.cut(one.picture, align.crop_matrix(align.anchors(one.points))) for one in halves[1].people[:4]]
    rows["points"] = [signed(crops)]
    rows["detector"] = [signed([fit(halves[1].people[0].picture, 448)])]
    first = timings(model, backend, rows, graphs, turns)
    if write:
        tables.write("onnx-speed", "\n".join(first))
        click.echo(tables.write("onnx-int8", "\n".join(second)))


def signed(pictures: list[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1


if __name__ == "__main__":
    main()
