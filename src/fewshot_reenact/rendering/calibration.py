"""What the networks are given in use, on the bundled portraits: the examples that set the ranges of int8."""

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fewshot_reenact.inputs.portrait import Portrait
from fewshot_reenact.inputs.portrait_files import PortraitSource
from fewshot_reenact.landmarks.backend import LandmarkBackend
from fewshot_reenact.models.onnx_graphs import generator_graph, refiner_graph
from fewshot_reenact.models.onnx_int8 import in_int8
from fewshot_reenact.models.onnx_runtime import CutReenactor
from fewshot_reenact.models.reenactor import Correction, FaceInputs, Reenactor
from fewshot_reenact.motion.builtins import NAMES, load_builtin_motion
from fewshot_reenact.motion.motion import Motion
from fewshot_reenact.motion.retarget import Retargeting
from fewshot_reenact.rendering.plan import plan_motion
from fewshot_reenact.rendering.renderer import open_renderer

_ASSETS = Path(__file__).resolve().parents[1] / "assets"
PORTRAITS = (_ASSETS / "astronaut.jpg", _ASSETS / "grace_hopper.jpg")
_made: dict[str, dict[str, bytes]] = {}  # by the SHA-256 of the weights
_MOMENTS = 3  # of each motion and portrait


class Watched(CutReenactor):
    """Networks that keep what they are given, rows for the inputs of each graph. A FaceNetworks."""

    def __init__(self, model: Reenactor):
        super().__init__(model)
        self.generator: list[list[Tensor]] = []
        self.refiner: list[list[Tensor]] = []

    def __call__(self, faces: FaceInputs, embedding: Tensor, psi: Tensor | None = None) -> Correction:
        """See Reenactor.forward."""
        self.generator.append(self.for_generator(faces, embedding, psi))
        return self.model(faces, embedding, psi)

    def refine(self, faces: FaceInputs, embedding: Tensor) -> Tensor:
        """See Reenactor."""
        self.refiner.append(self.for_refiner(faces, embedding))
        return self.model.refine(faces, embedding)


def joined(calls: Sequence[Sequence[Tensor]]) -> list[Tensor]:
    """The rows of all calls, for each input."""
    return [torch.cat([one.clone() for one in some]) for some in zip(*calls, strict=True)]


def int8_graphs(model: Reenactor, backend: LandmarkBackend) -> dict[str, bytes]:
    """Generator and refiner (if there is one) with convolutions in int8, for OnnxReenactor; ranges set by the bundled
    portraits and motions. It takes seconds, once a process for the same weights. Raises MissingExtra.
    """
    weights = sha256(str(type(backend)).encode())
    for name, values in model.state_dict().items():
        weights.update(name.encode() + values.detach().cpu().contiguous().numpy().tobytes())
    known = weights.hexdigest()
    if known not in _made:
        _made.clear()  # of many models, as in a batch of persons, only the last one's are kept
        _made[known] = _int8_graphs(model, backend)
    return _made[known]


def _int8_graphs(model: Reenactor, backend: LandmarkBackend) -> dict[str, bytes]:
    watched = Watched(model)
    for path in PORTRAITS:
        (portrait, *_), _ = PortraitSource([path]).load(backend)
        moves = np.concatenate([_moves(load_builtin_motion(name), portrait) for name in NAMES])
        for _ in open_renderer(watched, [portrait], moves).render(moves):
            pass
    made = {"generator": in_int8(generator_graph(model), joined(watched.generator))}
    if model.dims.refiners:
        made["refiner"] = in_int8(refiner_graph(model), joined(watched.refiner))
    return made


def _moves(motion: Motion, portrait: Portrait) -> np.ndarray:
    """A few moments of a motion, evenly spread, as the portrait makes them: (N, 83, 2) pixels."""
    moves = plan_motion(motion, portrait, Retargeting(), 0.5).moves
    return moves[np.linspace(0, len(moves) - 1, _MOMENTS + 2).round().astype(int)[1:-1]]
