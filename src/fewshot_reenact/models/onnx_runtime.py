"""Networks in ONNX Runtime, on the CPU, behind the interface that they have in PyTorch. Needs the extra onnx."""

from typing import Any

import torch
from torch import Tensor

from fewshot_reenact.errors import MissingExtra, UsageError
from fewshot_reenact.models.dimensions import ModelDimensions
from fewshot_reenact.models.onnx_graphs import Graph, generator_graph, refiner_graph
from fewshot_reenact.models.reenactor import Correction, FaceInputs, Reenactor


def runtime_version() -> str:
    """Of ONNX Runtime. Raises MissingExtra: it is not there."""
    return str(_onnxruntime().__version__)


def _onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtra("runtime 'onnx' needs ONNX Runtime, which is not installed", "onnx") from error
    return onnxruntime


class OnnxNetwork:
    """A graph, called as its network is: tensors in the order of its inputs; a tensor comes back, or several.

    graph: a Graph, or one that is written already. It computes with as many threads as PyTorch has now. Raises
    MissingExtra.
    """

    def __init__(self, graph: Graph | bytes):
        runtime = _onnxruntime()
        options = runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3  # errors
        # Threads that wait sleep, as PyTorch's do here: see docs/results.md, "Beside other work".
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        data = graph.to_onnx() if isinstance(graph, Graph) else graph
        self._session = runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        self._names = [one.name for one in self._session.get_inputs()]

    def __call__(self, *given: Tensor) -> Any:
        """float32 tensors on the CPU, in and out; one, or a tuple of several."""
        fed = {name: x.contiguous().numpy() for name, x in zip(self._names, given, strict=True)}
        made = tuple(torch.from_numpy(one) for one in self._session.run(None, fed))
        return made[0] if len(made) == 1 else made


class CutReenactor:
    """A model cut where its graphs begin: what they are given, in the order of their inputs."""

    def __init__(self, model: Reenactor):
        self.model = model

    @property
    def dims(self) -> ModelDimensions:
        """The model's."""
        return self.model.dims

    def embed(self, portraits: Tensor, rasters: Tensor) -> Tensor:
        """See Reenactor."""
        return self.model.embed(portraits, rasters)

    def for_generator(self, faces: FaceInputs, embedding: Tensor, psi: Tensor | None) -> list[Tensor]:
        """What Reenactor.forward has, as the generator's graph takes it."""
        style = self.model.generator.style(embedding) if psi is None else psi
        return [*_pictures(faces, self.dims.visible), style]

    def for_refiner(self, faces: FaceInputs, embedding: Tensor) -> list[Tensor]:
        """What Reenactor.refine has, as the refiners' graph takes it."""
        return [*_pictures(faces, any(one.visible for one in self.dims.refiners)), embedding]


class OnnxReenactor(CutReenactor):
    """A model whose generator and refiners run in ONNX Runtime; what a portrait needs once stays in PyTorch.

    generator, refiner: other graphs of the same inputs and outputs. Raises UsageError for a model of the paper's kind,
    MissingExtra.
    """

    def __init__(self, model: Reenactor, generator: bytes | None = None, refiner: bytes | None = None):
        self.check(model)
        super().__init__(model)
        self._generator = OnnxNetwork(generator or generator_graph(model))
        self._refiner = OnnxNetwork(refiner or refiner_graph(model)) if model.dims.refiners else None

    @staticmethod
    def check(model: Reenactor) -> None:
        """Raises UsageError for a model that cannot be had here."""
        if not model.dims.corrects_warp:
            raise UsageError("runtime 'onnx' is for models that correct a warp; take 'torch' for one that paints")

    def __call__(self, faces: FaceInputs, embedding: Tensor, psi: Tensor | None = None) -> Correction:
        """See Reenactor.forward."""
        made = self._generator(*self.for_generator(faces, embedding, psi))
        return Correction(*made) if self.dims.flow else Correction(made, None)

    def refine(self, faces: FaceInputs, embedding: Tensor) -> Tensor:
        """See Reenactor."""
        if self._refiner is None:
            return faces.warped
        return self._refiner(*self.for_refiner(faces, embedding))


def _pictures(faces: FaceInputs, visible: bool) -> list[Tensor]:
    """What a graph sees, in its order. visible: whether it is told how well the portrait shows each place."""
    seen = [faces.warped, faces.source, faces.source_raster, faces.driver_raster]
    if not visible:
        return seen
    return [*seen, torch.ones_like(faces.warped[:, :1]) if faces.visible is None else faces.visible]
