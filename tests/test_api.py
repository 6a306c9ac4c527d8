"""The public API: what is there, that it loads nothing before it is used, and that its examples run."""

import inspect
import json
import re
import shutil
import signal
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import get_args

import pytest
import yaml

import fewshot_reenact
from fewshot_reenact.landmarks.registry import BACKENDS, Landmarks
from fewshot_reenact.models.teachers import TEACHER
from fewshot_reenact.pipelines.methods import METHODS, MethodName
from fewshot_reenact.training.stopping import heeding_sigterm
from painted_clips import write_clips
from places import ROOT

FUNCTIONS = ("animate", "live", "extract", "check", "verify", "finetune", "train", "prepare", "evaluate", "export")
FUNCTIONS += ("plot",)
TINY = {
    "kind": "textured", "size": 32, "embedding": 8, "embedder_channels": [8, 8], "down_channels": [8, 8],
    "up_channels": [8, 8], "residual_blocks": 1, "embedder_unshuffle": 2, "generator_unshuffle": 2, "stem": 8,
    "skips": True, "spectral_norm": False, "attention": False,
}  # fmt: skip


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_is_there_and_described(name: str) -> None:
    function = getattr(fewshot_reenact, name)
    assert inspect.isfunction(function) and name in fewshot_reenact.__all__ and name in dir(fewshot_reenact)
    described = inspect.signature(function)
    assert all(one.annotation is not one.empty for one in described.parameters.values())
    assert described.return_annotation not in (described.empty, "Any")
    assert "\nExample:\n" in inspect.getdoc(function)
    assert inspect.getmodule(function).__name__ == f"fewshot_reenact.{fewshot_reenact._PLACES[name]}"


def test_all_that_is_public_can_be_had() -> None:
    assert all(getattr(fewshot_reenact, name) is not None for name in fewshot_reenact.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        fewshot_reenact.nothing  # noqa: B018


def test_importing_the_package_loads_nothing_heavy() -> None:
    done = run("import sys, fewshot_reenact; print({'torch', 'cv2', 'av', 'numpy', 'click'} & set(sys.modules))")
    assert done.stdout.strip() == "set()", done.stdout + done.stderr


@pytest.mark.slow
def test_no_module_takes_a_functions_place() -> None:
    """Whatever was imported before: a package of a function's name is what `from fewshot_reenact import` would give."""
    here = {path.stem for path in Path(fewshot_reenact.__file__).parent.iterdir()}
    assert not here & set(fewshot_reenact._PLACES)
    code = f"""
import importlib, inspect, pkgutil, fewshot_reenact
for module in pkgutil.walk_packages(fewshot_reenact.__path__, "fewshot_reenact."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
assert all(inspect.isfunction(getattr(fewshot_reenact, name)) for name in {FUNCTIONS!r})
"""
    done = run(code)
    assert done.returncode == 0, done.stderr


def test_python_dash_m_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "fewshot_reenact", "--help"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0 and done.stdout.startswith("Usage: reenact ") and "animate" in done.stdout


@pytest.mark.slow
def test_types_are_for_type_checkers_too(tmp_path: Path) -> None:
    good = tmp_path / "good.py"
    names = ", ".join(name for name in fewshot_reenact.__all__ if name != "__version__")
    good.write_text(f"from fewshot_reenact import {names}\n{GOOD}")
    examples = [tmp_path / f"example_of_{name}.py" for name in FUNCTIONS]
    for name, file in zip(FUNCTIONS, examples, strict=True):
        file.write_text(example_of(name))
    bad = tmp_path / "bad.py"
    calls = "\n".join(call for call, _ in WRONG)
    bad.write_text(
        f"from fewshot_reenact import animate, check, evaluate, extract, finetune, prepare, verify\n{calls}\n"
    )
    command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), "--follow-imports=silent"]
    files = [str(file) for file in (good, bad, *examples)]
    done = subprocess.run([*command, *files], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert "good.py" not in done.stdout and "example_of_" not in done.stdout, done.stdout
    for line, (_, complaint) in enumerate(WRONG, 2):
        assert re.search(rf"bad\.py:{line}: error: {complaint}", done.stdout), (complaint, done.stdout)


GOOD = """
moved: Animation = animate("a.jpg", "b.mp4", motion="absolute", region="lips")
verdicts: list[str] = [one.verdict for one in check(["a.jpg"], landmarks="builtin")]
measured: Extraction = extract("a.mp4", "a.npz", start=1.5, landmarks="fan")
motion: Motion = measured.motion
reports: list[Report] = check("a.jpg")
marked: list[MarkReport] = verify("a.mp4", trust="ca.pem")
tuned: FineTuning = finetune("a.mp4", "a.safetensors", steps=10)
trained: TrainingRun = train("a.yaml", "run", max_minutes=1)
shards: Prepared = prepare("videos", "shards", options=ClipOptions(size=128), engine="ray")
measures: Evaluation = evaluate("clips", methods=["copy", "finetuned"], perceptual="vgg.safetensors")
"""
WRONG = (
    ('animate("a.jpg", "b.mp4", motion="backwards")', 'Argument "motion" to "animate" has incompatible type'),
    ('extract("a.mp4", "a.npz", landmarks="dlib")', 'Argument "landmarks" to "extract" has incompatible type'),
    ('check("a.jpg", landmarks="dlib")', 'Argument "landmarks" to "check" has incompatible type'),
    (
        'finetune("a.jpg", "a.safetensors", landmarks="dlib")',
        'Argument "landmarks" to "finetune" has incompatible type',
    ),
    ('prepare("videos", "shards", engine="threads")', 'Argument "engine" to "prepare" has incompatible type'),
    ('evaluate("clips", methods=["guess"])', "List item 0 has incompatible type"),
    ('verify("a.mp4", "ca.pem")', 'Too many positional arguments for "verify"'),
)


def test_choices_for_type_checkers_are_those_that_there_are() -> None:
    assert get_args(Landmarks) == tuple(BACKENDS) and get_args(MethodName) == tuple(METHODS)


@pytest.mark.slow
def test_the_page_is_what_the_docstrings_say() -> None:
    command = [sys.executable, str(ROOT / "scripts/build/make_api_docs.py"), "--check"]
    assert subprocess.run(command, timeout=120).returncode == 0, "run scripts/build/make_api_docs.py"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_page_says_what_every_parameter_is(name: str) -> None:
    section = (ROOT / "docs/api.md").read_text("utf-8").partition(f"\n## {name}\n")[2].partition("\n## ")[0]
    parameters = list(inspect.signature(getattr(fewshot_reenact, name)).parameters)
    entries = re.findall(r"^- \*\*(.+?)\*\*: (.+)", section, re.MULTILINE)
    said: list[str] = []
    for names, _ in entries:
        first, _, last = names.partition(" ... ")
        said += parameters[parameters.index(first) : parameters.index(last) + 1] if last else names.split(", ")
    assert sorted(said) == sorted(parameters)
    # What is returned and raised is a paragraph of its own, not the end of the last parameter's entry.
    assert not any("Raises" in what or "Returns" in what for _, what in entries)
    assert re.search(r"^Returns ", section, re.MULTILINE) and "Raises " in section


# ---- the examples ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, assets: Path, tiny_model: Path) -> Path:
    """Files of the names that the examples use."""
    here = tmp_path_factory.mktemp("examples")
    fewshot_reenact.animate(
        assets / "astronaut.jpg", assets / "driver.mp4", here / "video.mp4", end=0.4, model=tiny_model
    )
    for name in ("portrait.jpg", "me1.jpg"):
        shutil.copy(assets / "astronaut.jpg", here / name)
    shutil.copy(assets / "grace_hopper.jpg", here / "me2.jpg")
    (here / "clips").mkdir()
    (here / "videos").mkdir()
    subprocess.run([sys.executable, "-c", CUT, str(assets / "driver.mp4"), str(here / "driver.mp4")], check=True)
    for name in ("clips/a.mp4", "videos/a.mp4"):
        shutil.copy(here / "driver.mp4", here / name)
    clips = write_clips(here / "painted", people=2, frames=8)
    config = {"model": TINY, "data": {"clips": str(clips), "frame_step": 1}, "batch": 2, "steps": 2, "log_every": 1}
    (here / "config.yaml").write_text(yaml.safe_dump(config))
    (here / "run" / "mine").mkdir(parents=True)
    (here / "run" / "mine" / "metrics.jsonl").write_text('{"step": 1, "loss": 2.0}\n')
    return here


CUT = """
import sys
from fewshot_reenact.media.reader import VideoReader
from fewshot_reenact.media.writer import VideoWriter
with VideoReader(sys.argv[1], 0, 1.4) as reader:
    info = reader.info
    with VideoWriter(sys.argv[2], info.width, info.height, info.time_base, info.fps) as writer:
        for frame in reader:
            writer.write(frame.picture, frame.pts)
"""


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.slow
def test_examples_run(
    name: str, folder: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As they stand in the docstrings; the built-in model is a tiny one."""
    if name == "export":
        pytest.importorskip("onnx", reason="needs the extra onnx")
    monkeypatch.chdir(folder)
    monkeypatch.setattr("fewshot_reenact.models.checkpoint.DEFAULT_MODEL", tiny_model)
    names: dict[str, object] = {}
    exec(compile(example_of(name), f"the example of {name}", "exec"), names)
    assert capsys.readouterr().out.strip()
    results = [one for one in names.values() if hasattr(one, "report")]
    assert results and all(json.loads(json.dumps(one.report())) for one in results)


def example_of(name: str) -> str:
    """The code in a function's docstring."""
    return textwrap.dedent(inspect.getdoc(getattr(fewshot_reenact, name)).partition("\nExample:\n")[2]) + "\n"


# ---- what is given ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_one_file_needs_no_list(folder: Path, tmp_path: Path, tiny_model: Path) -> None:
    """A string is a sequence of letters, and "." among them is the current folder."""
    for picture in (folder / "me1.jpg", str(folder / "me1.jpg")):
        (one,) = fewshot_reenact.check(picture)
        (mark,) = fewshot_reenact.verify(picture)
        assert one.file == str(picture) and one.verdict != "unusable"
        assert mark.name == str(picture) and mark.unreadable is None
    made = fewshot_reenact.finetune(str(folder / "me1.jpg"), tmp_path / "me.safetensors", model=tiny_model)
    assert made.frames == 1 and made.output.is_file()


@pytest.mark.slow
def test_networks_are_named_by_text_or_path(folder: Path, tiny_model: Path) -> None:
    numbers = [
        fewshot_reenact.evaluate(
            folder / "clips", shots=[1], methods=["copy"], held_out=1, model=tiny_model, perceptual=file, identity=file
        )
        for file in (TEACHER, str(TEACHER))
    ]
    assert numbers[0].report() == numbers[1].report() and numbers[0].scores.rows


def test_signals_are_left_alone_outside_the_main_thread() -> None:
    """Where `train` is called from a thread, as notebooks and servers do: Python forbids it to set a handler."""

    def listen() -> list[int]:
        with heeding_sigterm() as asked:
            return asked

    before = signal.getsignal(signal.SIGTERM)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(listen).result() == []
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.slow
def test_training_in_a_thread(folder: Path, tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(fewshot_reenact.train, folder / "config.yaml", str(tmp_path / "run"), device="cpu").result()
    assert done.step == done.steps == 2 and done.model.is_file()
