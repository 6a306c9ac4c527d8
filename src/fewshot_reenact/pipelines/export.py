"""`reenact export`: the networks as ONNX files, for programs without PyTorch, with a card that says their use."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from fewshot_reenact._version import __version__
from fewshot_reenact.files import sha256
from fewshot_reenact.landmarks.detector import DetectorNet
from fewshot_reenact.landmarks.graphs import detector_graph, points_graph
from fewshot_reenact.landmarks.network import PointNet, load_network
from fewshot_reenact.models.checkpoint import load_model, model_file
from fewshot_reenact.models.matte import SIDE, MatteNet
from fewshot_reenact.models.onnx_graphs import OPSET, Graph, Port, graphs_of
from fewshot_reenact.pipelines.folders import check_folder, write_folder
from fewshot_reenact.progress import Progress, stage
from fewshot_reenact.rendering.matte import WEIGHTS_FILE
from fewshot_reenact.weights import WEIGHTS

FORMAT = "fewshot-reenact/onnx/1"
CARD, PAGE = "networks.json", "README.md"
_HEAD = """# Networks of fewshot-reenact {version} as ONNX

Written by `reenact export --onnx`; `networks.json` says the same for programs. All numbers are float32; the first side
of every input is free. Faces are square and upright, with eyes and mouth always at the same places: the package's
`geometry/face_frame.py` says how they are cut, `geometry/raster.py` how landmark pictures are drawn.

A portrait goes through `embedder` once. For each frame the portrait's face is warped to the driver's pose and goes
through `generator`; the result goes through `refiner`, where there is one. `detector` and `points` measure faces,
`matte` tells the person from the ground. Tracking, retargeting, warping and compositing are no networks, and not in
these files.

Pictures made by `reenact` carry a watermark, a signature and a label. Pictures made with these files carry none: who
publishes them must say that they were made by a machine, see RESPONSIBLE_USE.md. Licence: Apache-2.0.
"""


@dataclass(frozen=True)
class Exported:
    """What `export` wrote.

    files: the graphs, then the card and the page. networks: of each graph its file, SHA-256, weights, inputs and
    outputs, as in the card. model, model_sha256: the model's weights. seconds: that it took.
    """

    folder: Path
    files: list[Path]
    networks: list[dict[str, Any]] = field(repr=False)
    model: str
    model_sha256: str
    seconds: float

    def report(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "folder": str(self.folder),
            "files": [str(path) for path in self.files],
            "model": self.model,
            "model_sha256": self.model_sha256,
            "networks": self.networks,
            "seconds": round(self.seconds, 3),
        }


class _Matte(nn.Module):
    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, picture: Tensor) -> Tensor:
        return self.network(picture).sigmoid()


def matte_graph(network: MatteNet) -> Graph:
    """Where the person is in a picture about a head."""
    return Graph(
        "matte",
        "once for each portrait: of the whole picture, and of a square about the head",
        _Matte(network),
        (Port("picture", ("batch", 3, SIDE, SIDE), "RGB, -1..1"),),
        (Port("matte", ("batch", 1, SIDE, SIDE), "0..1: how much of each place is the person"),),
    )


def all_graphs(model: str | Path | None = None) -> list[tuple[Graph, Path]]:
    """Every network with the file of its weights. Raises ModelError: weights are missing or damaged."""
    path = model_file(model)
    landmarks: tuple[tuple[type[nn.Module], Callable[[Any], Graph], Path], ...] = (
        (DetectorNet, detector_graph, WEIGHTS / "detector.safetensors"),
        (PointNet, points_graph, WEIGHTS / "landmarks.safetensors"),
        (MatteNet, matte_graph, WEIGHTS_FILE),
    )
    graphs = [(graph, path) for graph in graphs_of(load_model(path))]
    return [*graphs, *((make(load_network(kind, file)), file) for kind, make, file in landmarks)]


def export(
    onnx: str | Path,
    *,
    model: str | Path | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Exported:
    """Write the networks into the folder `onnx`, an ONNX file each, with networks.json and README.md, all or none.

    onnx: the folder, made if it is not there; other files in it stay. model: a safetensors file, or
    "hf:OWNER/NAME[@REV]"; None: the built-in one. Detector, points and matte are always the built-in ones. overwrite:
    replace files that exist. progress: see progress.Progress.

    Returns an Exported. Raises UsageError (MissingExtra where the package onnx is not there), ModelError (see errors);
    then nothing is written.

    Example:

        from fewshot_reenact import export

        made = export("networks")
        print([path.name for path in made.files])
    """
    began = time.perf_counter()
    folder = Path(onnx)
    check_folder(folder, (), overwrite, "--onnx")
    graphs = all_graphs(model)
    check_folder(folder, (*(f"{graph.name}.onnx" for graph, _ in graphs), CARD, PAGE), overwrite, "--onnx")
    tell, made, networks = stage(progress, "export"), {}, []
    for number, (graph, weights) in enumerate(graphs):
        digest = sha256(weights)
        data = graph.to_onnx({"format": FORMAT, "version": __version__, "weights_sha256": digest})
        made[f"{graph.name}.onnx"] = data
        networks.append(_card(graph, data, weights, digest))
        tell(number + 1, len(graphs))
    path = model_file(model)
    about = {"format": FORMAT, "version": __version__, "opset": OPSET, "model": path.name, "model_sha256": sha256(path)}
    made[CARD] = (json.dumps({**about, "networks": networks}, indent=2) + "\n").encode()
    made[PAGE] = _page(networks).encode()
    write_folder(folder, made, overwrite, path)
    return Exported(
        folder=folder,
        files=[folder / name for name in made],
        networks=networks,
        model="built-in" if model is None else str(model),
        model_sha256=str(about["model_sha256"]),
        seconds=time.perf_counter() - began,
    )


def _card(graph: Graph, data: bytes, weights: Path, digest: str) -> dict[str, Any]:
    ports = {
        side: [{"name": one.name, "shape": list(one.shape), "holds": one.holds} for one in some]
        for side, some in (("inputs", graph.inputs), ("outputs", graph.outputs))
    }
    return {
        "name": graph.name,
        "file": f"{graph.name}.onnx",
        "sha256": hashlib.sha256(data).hexdigest(),
        "bytes": len(data),
        "weights": weights.name,
        "weights_sha256": digest,
        "does": graph.does,
        **ports,
    }


def _page(networks: list[dict[str, Any]]) -> str:
    lines = [_HEAD.format(version=__version__)]
    for one in networks:
        lines += [f"## {one['file']}", "", f"{one['does'][0].upper()}{one['does'][1:]}.", ""]
        lines += [f"Weights: `{one['weights']}`, SHA-256 `{one['weights_sha256']}`.", ""]
        lines += ["| | name | shape | holds |", "|---|---|---|---|"]
        for side in ("inputs", "outputs"):
            for port in one[side]:
                shape = " x ".join(map(str, port["shape"]))
                lines.append(f"| {side[:-1]} | `{port['name']}` | {shape} | {port['holds']} |")
        lines.append("")
    return "\n".join(lines)
