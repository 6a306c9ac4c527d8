"""Which device the networks run on, and why: a GPU that is silently not used is a user's lost afternoon."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from fewshot_reenact.errors import UsageError

_USUAL = torch.get_num_threads()


def _mps_available() -> bool:
    return torch.backends.mps.is_available()


def _no_cuda() -> str:
    """Why CUDA cannot be used here."""
    if torch.version.cuda is None and torch.version.hip is None:
        return f"torch {torch.__version__} is built without CUDA"
    return "no CUDA device or driver is found"


def choose_device(name: str = "auto") -> tuple[torch.device, str]:
    """The device of that name and one line that says why it was chosen.

    name: "auto" (CUDA, else MPS, else the CPU), "cpu", "cuda", "cuda:1", "mps".
    Raises UsageError for a device that is unknown or not there; nothing falls back silently.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", 0), f"auto: {torch.cuda.get_device_name(0)} is available"
        if _mps_available():
            return torch.device("mps"), "auto: Apple's GPU (MPS) is available"
        return torch.device("cpu"), f"auto: {_no_cuda()} and there is no MPS"
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type == "cpu":
        return torch.device("cpu"), "asked for"
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise UsageError(f"device {name!r} cannot be used: {_no_cuda()}; use --device auto or cpu")
        index, count = device.index or 0, torch.cuda.device_count()
        if index >= count:
            raise UsageError(f"device {name!r} is not there: this machine has cuda:0 to cuda:{count - 1}")
        return torch.device("cuda", index), f"asked for: {torch.cuda.get_device_name(index)}"
    if device.type == "mps":
        if not _mps_available():
            raise UsageError(f"device {name!r} cannot be used: there is no MPS here; use --device auto or cpu")
        return torch.device("mps"), "asked for"
    raise UsageError(f"device {name!r} is not known: choose auto, cpu, cuda, cuda:1 or mps")


def use_threads(count: int) -> None:
    """Have torch and OpenCV compute with so many processor threads, from now on and in the whole process."""
    import cv2

    torch.set_num_threads(count)
    cv2.setNumThreads(count)
    _told.append(count)


_told: list[int] = []  # by the user


@contextmanager
def one_thread_less() -> Iterator[None]:
    """Have torch leave a processor to the threads that work beside the networks, unless the user has said how many
    threads there are to be (`use_threads`, OMP_NUM_THREADS). On two processors a second thread of the networks costs
    more than it brings.
    """
    count, most = torch.get_num_threads(), max(1, _USUAL - 1)
    if _told or "OMP_NUM_THREADS" in os.environ or count <= most:
        yield
        return
    torch.set_num_threads(most)
    try:
        yield
    finally:
        torch.set_num_threads(count)
