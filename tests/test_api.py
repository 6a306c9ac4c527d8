"""The public API: what is there, that it loads nothing before it is used, and that its examples run."""

import inspect
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import yaml

import fewshot_reenact
from painted_clips import write_clips
from places import ROOT

FUNCTIONS = ("animate", "extract", "check", "verify", "finetune", "train", "prepare", "evaluate")
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
    good.write_text(
        "from fewshot_reenact import Animation, animate, check\n"
        'made: Animation = animate("a.jpg", "b.mp4", motion="absolute", region="lips")\n'
        'verdicts: list[str] = [one.verdict for one in check(["a.jpg"])]\n'
    )
    bad = tmp_path / "bad.py"
    bad.write_text('from fewshot_reenact import animate\nanimate("a.jpg", "b.mp4", motion="backwards")\n')
    command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), "--follow-imports=silent"]
    done = subprocess.run([*command, str(good), str(bad)], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert "good.py" not in done.stdout, done.stdout
    assert 'bad.py:2: error: Argument "motion" to "animate" has incompatible type' in done.stdout, done.stdout


@pytest.mark.slow
def test_the_page_is_what_the_docstrings_say() -> None:
    command = [sys.executable, str(ROOT / "scripts/build/make_api_docs.py"), "--check"]
    assert subprocess.run(command, timeout=120).returncode == 0, "run scripts/build/make_api_docs.py"


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
    monkeypatch.chdir(folder)
    monkeypatch.setattr("fewshot_reenact.models.checkpoint.DEFAULT_MODEL", tiny_model)
    example = textwrap.dedent(inspect.getdoc(getattr(fewshot_reenact, name)).partition("\nExample:\n")[2])
    exec(compile(example, f"the example of {name}", "exec"), {})
    assert capsys.readouterr().out.strip()
