"""Networks as ONNX graphs: what goes in and comes out of each, and how PyTorch writes them.

The parts of a Reenactor are cut where a program that uses them has something to keep: the embedder runs once for each
portrait, the generator and the refiners for each frame.
"""

import contextlib
import dataclasses
import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from fewshot_reenact.errors import MissingExtra
from fewshot_reenact.models.reenactor import FaceInputs, Reenactor

OPSET = 18
_SIGNED, _SHARE = "-1..1", "0..1"


@dataclass(frozen=True)
class Port:
    """An input or an output, float32. shape: a number for each side, or the name of one that is free. holds: what."""

    name: str
    shape: tuple[int | str, ...]
    holds: str

    def example(self, sizes: dict[str, int]) -> Tensor:
        """Any values, of this shape; sizes: of the free sides."""
        return torch.zeros([sizes[side] if isinstance(side, str) else side for side in self.shape])


@dataclass(frozen=True)
class Graph:
    """A network that can be written as ONNX. network: takes and returns tensors in the order of the ports."""

    name: str
    does: str
    network: nn.Module
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]

    def to_onnx(self, about: Mapping[str, str] | None = None) -> bytes:
        """The graph with its weights, checked. about: its metadata. Raises MissingExtra: the package onnx is not
        there.
        """
        try:
            import onnx
        except ImportError as error:
            raise MissingExtra("writing ONNX needs the package onnx, which is not installed", "onnx") from error
        free = {port.name: _free(port) for port in (*self.inputs, *self.outputs) if _free(port)}
        written = io.BytesIO()
        examples = tuple(port.example({"batch": 2, "height": 64, "width": 96}) for port in self.inputs)
        with torch.inference_mode(False), torch.no_grad(), _quiet():
            torch.onnx.export(
                self.network,
                examples,
                written,  # type: ignore[arg-type]  # the stubs know files by name alone
                input_names=[port.name for port in self.inputs],
                output_names=[port.name for port in self.outputs],
                dynamic_axes=free,
                opset_version=OPSET,
                # By tracing: nothing in these networks depends on values, and the other way takes fifteen times as
                # long and another package.
                dynamo=False,
            )
        made = onnx.load_from_string(written.getvalue())
        for value, port in zip(made.graph.output, self.outputs, strict=True):
            value.CopyFrom(onnx.helper.make_tensor_value_info(port.name, onnx.TensorProto.FLOAT, port.shape))
        onnx.helper.set_model_props(made, dict(about or {}))
        made.producer_name, made.doc_string = "fewshot-reenact", self.does
        onnx.checker.check_model(made)
        return made.SerializeToString()


def _free(port: Port) -> dict[int, str]:
    return {axis: side for axis, side in enumerate(port.shape) if isinstance(side, str)}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporter says to those who write networks: that it traces, and what it does not fold."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)


def graphs_of(model: Reenactor) -> list[Graph]:
    """Embedder, generator and, where the model has refiners, refiner."""
    model = _without_spectral_norm(model)
    graphs = [embedder_graph(model), generator_graph(model)]
    return [*graphs, refiner_graph(model)] if model.dims.refiners else graphs


def _without_spectral_norm(model: Reenactor) -> Reenactor:
    """The same function with the weights that spectral norm gives, in place of the operations, which ONNX lacks."""
    if not model.dims.spectral_norm:
        return model
    plain = Reenactor(dataclasses.replace(model.dims, spectral_norm=False))
    state = {name: tensor for name, tensor in model.state_dict().items() if ".parametrizations." not in name}
    for name, module in model.named_modules():
        if parametrize.is_parametrized(module):
            state[f"{name}.weight"] = module.weight
    plain.load_state_dict(state)
    return plain.eval().requires_grad_(False)


# ---- the embedder


class _Embedder(nn.Module):
    def __init__(self, model: Reenactor):
        super().__init__()
        self.model = model

    def forward(self, portrait: Tensor, raster: Tensor) -> tuple[Tensor, Tensor]:
        embedding = self.model.embedder(portrait, raster)
        return embedding, self.model.generator.style(embedding)


def embedder_graph(model: Reenactor) -> Graph:
    """A portrait's embedding, and the generator's AdaIN parameters that are made from it."""
    side = model.dims.size
    return Graph(
        "embedder",
        "once for each portrait; of several portraits of one person take the means of both outputs",
        _Embedder(model),
        (_picture("portrait", side, "the face"), _picture("raster", side, "its landmark picture")),
        (
            Port("embedding", ("batch", model.dims.embedding), "for the refiner"),
            _style(model, "AdaIN's shifts and scales, for the generator"),
        ),
    )


def _style(model: Reenactor, holds: str) -> Port:
    return Port("style", ("batch", model.generator.style_length), holds)


def _picture(name: str, side: int, what: str) -> Port:
    return Port(name, ("batch", 3, side, side), f"RGB, {_SIGNED}: {what}")


def _seen(first: Port, side: int, visible: bool) -> tuple[Port, ...]:
    ports = (
        first,
        _picture("source", side, "the portrait's face"),
        _picture("source_raster", side, "its landmark picture"),
        _picture("driver_raster", side, "the driver's, in the portrait's proportions"),
    )
    known = Port("visible", ("batch", 1, side, side), f"{_SHARE}: how well the portrait shows each place")
    return (*ports, known) if visible else ports


# ---- the generator


class _Corrector(nn.Module):
    def __init__(self, model: Reenactor):
        super().__init__()
        self.model = model

    def forward(self, *given: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        *pictures, style = given
        made = self.model(FaceInputs(*pictures), style, style)  # the second alone counts: there is no P in this graph
        return made.colour if made.shift is None else (made.colour, made.shift)


class _Painter(nn.Module):
    def __init__(self, model: Reenactor):
        super().__init__()
        self.model = model

    def forward(self, driver_raster: Tensor, style: Tensor) -> Tensor:
        return self.model.generator(driver_raster, style, style)


def generator_graph(model: Reenactor) -> Graph:
    """How a warped face is to be corrected, or, of a model of the paper's kind, the painted picture."""
    side = model.dims.size
    if not model.dims.corrects_warp:
        ports = (_picture("driver_raster", side, "the driver's landmark picture"), _style(model, "of the embedder"))
        return Graph(
            "generator", "once for each frame", _Painter(model), ports, (_picture("picture", side, "the result"),)
        )
    warped = _picture("warped", side, "the portrait warped to the driver's pose")
    colour = Port("colour", ("batch", 3, side, side), "to be added to the warped face, on the -1..1 scale")
    shift = Port(
        "shift",
        ("batch", 2, side, side),
        "x and y, pixels of the frame: what belongs at a place stands this far from it in the warped face",
    )
    return Graph(
        "generator",
        "once for each frame",
        _Corrector(model),
        (*_seen(warped, side, model.dims.visible), _style(model, "of the embedder, or a fine-tuned person's psi")),
        (colour, shift) if model.dims.flow else (colour,),
    )


# ---- the refiners


class _Refiners(nn.Module):
    def __init__(self, model: Reenactor):
        super().__init__()
        self.model = model

    def forward(self, *given: Tensor) -> Tensor:
        *pictures, embedding = given
        return self.model.refine(FaceInputs(*pictures), embedding)


def refiner_graph(model: Reenactor) -> Graph:
    """The finished face: all refiners of the model, one after the other."""
    side = model.dims.shown
    face = _picture("face", side, "warped with the shift, colour added, all of it enlarged to this side")
    visible = any(one.visible for one in model.dims.refiners)
    embedding = Port("embedding", ("batch", model.dims.embedding), "of the embedder")
    return Graph(
        "refiner",
        "once for each frame, after the generator",
        _Refiners(model),
        (*_seen(face, side, visible), embedding),
        (_picture("finished", side, "the result"),),
    )
