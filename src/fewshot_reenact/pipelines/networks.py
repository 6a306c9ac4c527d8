"""Networks and landmarks, in the runtime that was asked for."""

from dataclasses import dataclass

import torch

from fewshot_reenact.device import choose_device
from fewshot_reenact.landmarks.backend import LandmarkBackend
from fewshot_reenact.landmarks.registry import load_backend
from fewshot_reenact.models.checkpoint import load_model
from fewshot_reenact.models.onnx_runtime import OnnxReenactor, runtime_version
from fewshot_reenact.models.reenactor import FaceNetworks, Reenactor
from fewshot_reenact.pipelines.options import AnimateOptions
from fewshot_reenact.rendering.calibration import int8_graphs


@dataclass(frozen=True)
class Networks:
    """What is loaded whoever is shown, and may be used for many portraits: the model, None for a fine-tuned person,
    who has a model of their own, and the landmarks.
    """

    model: FaceNetworks | None
    backend: LandmarkBackend
    device: torch.device
    device_why: str


def load_networks(options: AnimateOptions, person: bool = False) -> Networks:
    """Load networks and landmarks. person: whether a fine-tuned person will be shown, by a model of their own."""
    where, why = device_for(options)
    backend = options.landmarks
    if isinstance(backend, str):
        backend = load_backend(backend, str(where), options.runtime)
    model = None if person else running(load_model(options.model, where), options, backend)
    return Networks(model, backend, where, why)


def device_for(options: AnimateOptions) -> tuple[torch.device, str]:
    """See device.choose_device. Raises MissingExtra too, before anything is loaded."""
    if options.runtime == "torch":
        return choose_device(options.device)
    return torch.device("cpu"), f"ONNX Runtime {runtime_version()}"


def running(model: Reenactor, options: AnimateOptions, backend: LandmarkBackend) -> FaceNetworks:
    """A model in the runtime that was asked for."""
    if options.runtime == "torch" or options.warp_only:
        return model
    OnnxReenactor.check(model)
    return OnnxReenactor(model, **(int8_graphs(model, backend) if options.runtime == "onnx-int8" else {}))
