"""The folder of built-in weights, and the one way to open and write a weights file: safetensors, never a pickle.

A weights file describes itself: its metadata holds a format, the dimensions of its networks and a note.
"""

from __future__ import annotations

import contextlib
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from fewshot_reenact.errors import ModelError, brief
from fewshot_reenact.files import partial_file

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

WEIGHTS = Path(__file__).resolve().parent / "weights"
_LFS = b"version https://git-lfs"
_WRONG = (SafetensorError, KeyError, IndexError, ValueError, TypeError, AttributeError, RuntimeError, OSError)
"""What reading a damaged or hostile file raises, in safetensors, json, dimensions and torch."""


class WeightsFile:
    """An open weights file. meta: its texts by name, of which "format" and "dimensions" are ours."""

    def __init__(self, path: Path, file: Any) -> None:
        self.path, self._file = path, file
        self.meta: dict[str, str] = file.metadata() or {}

    def __contains__(self, name: str) -> bool:
        return name in self._file.keys()  # noqa: SIM118  # not a dict

    def tensors(self) -> dict[str, Tensor]:
        """All tensors by name, as they were written. Raises ValueError where one holds what is no number."""
        tensors = {name: self._file.get_tensor(name) for name in self._file.keys()}  # noqa: SIM118
        for name, tensor in tensors.items():
            if tensor.is_floating_point() and not tensor.isfinite().all():
                raise ValueError(f"{name} holds values that are no numbers")
        return tensors

    def expect(self, wanted: str, complaint: str) -> None:
        """Raises ModelError with the complaint ("{found}" in it is what the file says of itself) for another format."""
        found = self.meta.get("format", "something else")
        if found != wanted:
            raise ModelError(f"{self.path}: {complaint.format(found=found)}")


@contextlib.contextmanager
def open_weights(path: Path, missing: str, damaged: str = "damaged ({reason})") -> Iterator[WeightsFile]:
    """A weights file, open while its networks are built: what goes wrong with that is the file's fault too.

    missing: what to say, and to do, where there is no such file. damaged: the same of one that cannot be used.
    Raises ModelError.
    """
    if not path.is_file():
        raise ModelError(f"{path}: {missing}")
    if is_pointer(path):
        raise ModelError(f"{path}: this is a Git-LFS pointer, not the weights; run `git lfs pull`")
    try:
        with safe_open(str(path), "pt") as file:
            yield WeightsFile(path, file)
    except _WRONG as error:
        reason = " ".join(str(error).split())[:300]  # torch lists every tensor on a line of its own
        raise ModelError(f"{path}: {damaged.format(reason=reason)}") from error


def load_arrays(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Arrays of an .npz file by name, in this order, numbers only. Raises ModelError as `open_weights`."""
    import numpy as np

    if not path.is_file():
        raise ModelError(f"{path}: is missing; install the package again")
    if is_pointer(path):
        raise ModelError(f"{path}: this is a Git-LFS pointer, not the weights; run `git lfs pull`")
    try:
        with np.load(path, allow_pickle=False) as data:
            arrays = {name: data[name] for name in names}
    except (*_WRONG, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ModelError(f"{path}: damaged ({brief(error)}); install the package again") from error
    wrong = [name for name, array in arrays.items() if array.dtype.kind != "f" or not np.isfinite(array).all()]
    if wrong:
        raise ModelError(f"{path}: damaged ({wrong[0]} holds values that are no numbers); install the package again")
    return arrays


def is_pointer(path: Path) -> bool:
    """Whether the file only says where Git-LFS keeps it."""
    with path.open("rb") as file:
        return file.read(len(_LFS)) == _LFS


def save_weights(
    path: Path, tensors: Mapping[str, Tensor], meta: Mapping[str, str], *, half: bool = False, overwrite: bool = True
) -> None:
    """Write tensors and metadata, whole or not at all. half: numbers as float16. Raises UsageError as partial_file."""
    from safetensors.torch import save

    kept = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    if half:
        kept = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in kept.items()}
    with partial_file(path, overwrite) as partial:
        # Not save_file, which leaves a file that only its owner may read.
        partial.write_bytes(save(kept, metadata=dict(meta)))
