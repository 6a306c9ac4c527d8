"""The nodes for ComfyUI, loaded as ComfyUI loads them, beside stubs of its modules."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from animate_samples import FACE, WALK, box_in, face_picture
from fake_face import PaintedFaces, paint
from fewshot_reenact import verify
from fewshot_reenact.app import comfyui
from fewshot_reenact.errors import InputError
from fewshot_reenact.landmarks import registry
from fewshot_reenact.media.reader import VideoReader
from places import ROOT


class Interrupted(Exception):
    """ComfyUI's InterruptProcessingException."""


class Comfy:
    """What the stubs were told. stop_at: the count at which the user presses stop."""

    def __init__(self) -> None:
        self.done: list[tuple[int, int]] = []
        self.stop_at: int | None = None


@pytest.fixture
def comfy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Comfy:
    told = Comfy()

    class ProgressBar:
        def __init__(self, total: int) -> None:
            self.total = total

        def update_absolute(self, value: int, total: int | None = None) -> None:
            told.done.append((value, self.total))

    def throw() -> None:
        if told.stop_at is not None and len(told.done) >= told.stop_at:
            raise Interrupted

    modules = {name: ModuleType(name) for name in ("comfy", "comfy.utils", "comfy.model_management", "folder_paths")}
    modules["comfy.utils"].ProgressBar = ProgressBar
    modules["comfy.model_management"].throw_exception_if_processing_interrupted = throw
    modules["folder_paths"].get_output_directory = lambda: str(tmp_path)
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setitem(registry.BACKENDS, "builtin", lambda device: PaintedFaces())
    comfyui._loaded.clear()
    return told


def image(*pictures: np.ndarray) -> torch.Tensor:
    """ComfyUI's IMAGE."""
    return torch.stack([torch.from_numpy(picture.astype(np.float32) / 255) for picture in pictures])


DRIVER = [paint(*faces) for faces in WALK]


def defaults(node: type) -> dict:
    """What ComfyUI gives a node whose widgets nobody touched."""
    inputs = node.INPUT_TYPES()
    given = {}
    for name, (kind, *more) in {**inputs["required"], **inputs.get("optional", {})}.items():
        if kind == "IMAGE":
            continue
        given[name] = more[0]["default"]
        if isinstance(kind, list):
            assert given[name] in kind
        else:
            assert isinstance(given[name], {"FLOAT": float, "STRING": str}[kind])
    return given


def test_a_custom_node_of_one_line_loads(tmp_path):
    """The line that docs/comfyui.md names, loaded from a path as ComfyUI does."""
    (line,) = [
        line.strip() for line in (ROOT / "docs/comfyui.md").read_text("utf-8").splitlines() if "import NODE" in line
    ]
    folder = tmp_path / "custom_nodes" / "reenact"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(line + "\n")
    spec = importlib.util.spec_from_file_location("custom_nodes.reenact", folder / "__init__.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert set(module.NODE_CLASS_MAPPINGS) == set(module.NODE_DISPLAY_NAME_MAPPINGS)
    for node in module.NODE_CLASS_MAPPINGS.values():
        assert callable(getattr(node(), node.FUNCTION)) and len(node.RETURN_TYPES) == len(node.RETURN_NAMES)
        assert defaults(node)


def test_frames_in_frames_out(comfy, tiny_model):
    given = {**defaults(comfyui.ReenactFrames), "model": str(tiny_model)}
    node = comfyui.ReenactFrames()
    frames, watermark = node.run(portrait=image(face_picture(FACE)), driver=image(*DRIVER), **given)
    assert frames.shape == (len(DRIVER), 120, 160, 3) and frames.dtype == torch.float32
    assert frames.min() >= 0 and frames.max() <= 1 and len(watermark) == 16
    first, last = (box_in((frames[at].numpy() * 255).astype(np.uint8)) for at in (0, -1))
    assert last[0] > first[0] + 8, "the face goes right, as the driver's does"
    assert comfy.done == [(number + 1, len(DRIVER)) for number in range(len(DRIVER))]
    before = dict(comfyui._loaded)
    node.run(portrait=image(face_picture(FACE)), driver=image(*DRIVER[:2]), **given)
    assert next(iter(comfyui._loaded.values())).model is next(iter(before.values())).model, "loaded once"


def test_a_signed_video_is_written_where_comfyui_keeps_outputs(comfy, tiny_model, tmp_path):
    given = {**defaults(comfyui.ReenactVideo), "model": str(tiny_model), "name": "../my talk", "driver": "motion:blink"}
    node = comfyui.ReenactVideo()
    made = node.run(portrait=image(face_picture(FACE, scale=4)), **{**given, "consent": "Ann said yes"})
    path = Path(made["result"][0])
    assert path == tmp_path / "___my talk_00001.mp4" and made["ui"]["text"] == [str(path)]
    (found,) = verify(path)
    assert found.made_by_this_tool and found.signature.holds
    with VideoReader(path) as reader:
        assert len(list(reader)) == 71
    assert comfy.done[-1] == (1000, 1000)


def test_stop_is_heeded_and_nothing_half_written_stays(comfy, tiny_model, tmp_path):
    comfy.stop_at = 3
    portrait = image(face_picture(FACE))
    frames = {**defaults(comfyui.ReenactFrames), "model": str(tiny_model)}
    with pytest.raises(Interrupted):
        comfyui.ReenactFrames().run(portrait=portrait, driver=image(*DRIVER), **frames)
    assert len(comfy.done) == 3
    video = {**defaults(comfyui.ReenactVideo), "model": str(tiny_model)}
    with pytest.raises(Interrupted):
        comfyui.ReenactVideo().run(portrait=portrait, **video)
    assert not [path for path in tmp_path.iterdir() if path.is_file()]


def test_errors_are_the_tools_own(comfy, tiny_model):
    given = {**defaults(comfyui.ReenactFrames), "model": str(tiny_model)}
    with pytest.raises(InputError, match="no face"):
        comfyui.ReenactFrames().run(portrait=image(paint()), driver=image(*DRIVER), **given)


def test_without_comfyui(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    comfyui._progress(3)(1)
    assert comfyui._new_file(comfyui._output_folder(), "").name == "reenact_00001.mp4"
    (tmp_path / "reenact_00001.mp4").touch()
    assert comfyui._new_file(tmp_path, "reenact").name == "reenact_00002.mp4"


def test_alpha_is_left_out_and_numbers_beyond_are_cut():
    (picture,) = comfyui.arrays(torch.tensor([[[[-1.0, 0.5, 2.0, 0.25]]]]))
    assert picture.tolist() == [[[0, 128, 255]]] and picture.dtype == np.uint8
