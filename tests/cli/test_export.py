"""`reenact export`: each network in ONNX Runtime says what it says in PyTorch; files whole or not at all."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from animate_samples import complaint, run
from fewshot_reenact.files import sha256
from fewshot_reenact.models.dimensions import ModelDimensions
from fewshot_reenact.models.onnx_graphs import Graph, graphs_of
from fewshot_reenact.models.reenactor import Reenactor
from fewshot_reenact.pipelines.export import all_graphs

onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra onnx")
pytest.importorskip("onnx", reason="needs the extra onnx")

NAMES = ["embedder", "generator", "refiner", "detector", "points", "matte"]
# The largest difference from PyTorch that was seen in any output, of the largest number in it: 1.4e-6. A pixel's step
# is 8e-3 on the -1..1 scale.
CLOSE = 1e-5


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("exported") / "networks"
    result = run("export", "--onnx", out)
    assert result.exit_code == 0, result.output
    return out


@pytest.fixture(scope="module")
def graphs() -> dict[str, Graph]:
    return {graph.name: graph for graph, _ in all_graphs()}


def given(graph: Graph, batch: int) -> list[torch.Tensor]:
    """Inputs in the range that they have."""
    torch.manual_seed(batch)
    sizes = {"batch": batch, "height": 96 + 32 * batch, "width": 160}
    made = [torch.rand_like(port.example(sizes)) for port in graph.inputs]
    return [x * 2 - 1 if "-1..1" in port.holds else x for x, port in zip(made, graph.inputs, strict=True)]


def compare(graph: Graph, data: bytes | str, batch: int) -> None:
    inputs = given(graph, batch)
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    got = session.run(None, {port.name: x.numpy() for port, x in zip(graph.inputs, inputs, strict=True)})
    with torch.inference_mode():
        wanted = graph.network(*inputs)
    wanted = wanted if isinstance(wanted, tuple) else (wanted,)
    assert len(got) == len(wanted) == len(graph.outputs)
    for ours, theirs in zip(got, wanted, strict=True):
        assert ours.shape == tuple(theirs.shape) and theirs.abs().max() > 0
        assert np.abs(ours - theirs.numpy()).max() <= CLOSE * float(theirs.abs().max())


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("name", NAMES)
def test_a_network_says_the_same(name: str, batch: int, folder: Path, graphs: dict[str, Graph]) -> None:
    compare(graphs[name], str(folder / f"{name}.onnx"), batch)


def test_the_card_is_of_the_files(folder: Path, graphs: dict[str, Graph]) -> None:
    card = json.loads((folder / "networks.json").read_text())
    page = (folder / "README.md").read_text()
    assert [one["name"] for one in card["networks"]] == NAMES
    for one in card["networks"]:
        assert sha256(folder / one["file"]) == one["sha256"] and one["weights_sha256"] in page
        session = onnxruntime.InferenceSession(str(folder / one["file"]), providers=["CPUExecutionProvider"])
        assert [(i.name, list(i.shape)) for i in session.get_inputs()] == [
            (i["name"], i["shape"]) for i in one["inputs"]
        ]
        assert [i.name for i in session.get_outputs()] == [i["name"] for i in one["outputs"]]
        assert session.get_modelmeta().custom_metadata_map["weights_sha256"] == one["weights_sha256"]
        assert all(f"| `{port['name']}` |" in page for port in (*one["inputs"], *one["outputs"]))
    from fewshot_reenact.weights import WEIGHTS

    assert card["model_sha256"] == sha256(WEIGHTS / "textured.safetensors")
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        [*(f"{name}.onnx" for name in NAMES), "networks.json", "README.md"]
    )


def models() -> dict[str, ModelDimensions]:
    """Small ones that differ in what goes in and out."""
    small = dataclasses.replace(
        ModelDimensions.textured(), size=32, embedding=8, embedder_channels=(8, 8), down_channels=(8, 8),
        up_channels=(8, 8), residual_blocks=1, embedder_unshuffle=2, stem=8,
    )  # fmt: skip
    paper = dataclasses.replace(
        ModelDimensions.paper(), size=64, embedding=16, embedder_channels=(8, 16), down_channels=(8, 16),
        up_channels=(16, 8), residual_blocks=1,
    )  # fmt: skip
    return {"colours alone": dataclasses.replace(small, flow=False, visible=False), "paper": paper}


@pytest.mark.parametrize("name", ["colours alone", "paper"])
def test_models_of_other_dimensions(name: str, one_thread: None) -> None:
    torch.manual_seed(0)
    model = Reenactor(models()[name]).eval().requires_grad_(False)
    torch.nn.init.normal_(model.generator.out.weight if name != "paper" else model.generator.project.bias, std=0.3)
    graphs = graphs_of(model)
    assert [graph.name for graph in graphs] == ["embedder", "generator"]
    for graph in graphs:
        compare(graph, graph.to_onnx(), 3)
    portrait, raster = given(graphs[0], 1)
    with torch.inference_mode():  # and of spectral norm only the operations are gone, not what they do
        wanted = model.embed(portrait[None], raster[None])
        assert torch.allclose(graphs[0].network(portrait, raster)[0], wanted, rtol=1e-5)


def test_nothing_is_replaced_unasked(folder: Path) -> None:
    before = {path: sha256(path) for path in folder.iterdir()}
    assert "exists already; use --overwrite" in complaint(run("export", "--onnx", folder), 2)
    assert {path: sha256(path) for path in folder.iterdir()} == before


def test_another_model_and_overwrite(tmp_path: Path, tiny_model: Path) -> None:
    out, report = tmp_path / "out", tmp_path / "report.json"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    (out / "generator.onnx").write_text("old")
    result = run("export", "--onnx", out, "--model", tiny_model, "--overwrite", "--json", report)
    assert result.exit_code == 0, result.output
    names = {path.name for path in out.iterdir()}
    assert "refiner.onnx" not in names and {"mine.txt", "generator.onnx", "networks.json"} <= names
    assert json.loads(report.read_text())["model_sha256"] == sha256(tiny_model)
    assert not [name for name in names if "partial" in name]


def test_what_cannot_be_written_or_read(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    assert "is a file" in complaint(run("export", "--onnx", file), 2)
    assert "there is no folder" in complaint(run("export", "--onnx", tmp_path / "a" / "b"), 2)
    assert "no such model" in complaint(run("export", "--onnx", tmp_path / "out", "--model", tmp_path / "no"), 4)
    assert "--onnx" in complaint(run("export"), 2)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    assert "no room" in complaint(run("export", "--onnx", tmp_path / "out", "--model", tiny_model), 2)
    assert list(tmp_path.iterdir()) == [file]


def test_without_the_extra(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    said = complaint(run("export", "--onnx", tmp_path / "out", "--model", tiny_model), 2)
    assert "needs the package onnx" in said and said.endswith(("onnx", "[onnx]'"))
    assert not (tmp_path / "out").exists()
