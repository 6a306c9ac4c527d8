"""fewshot-reenact: animate a portrait with a driving video.

    from fewshot_reenact import animate

    made = animate("portrait.jpg", "driver.mp4", "out.mp4")

A function for each command: animate, live, extract, check, verify, finetune, train, prepare, plot, evaluate,
export. `errors` has what they raise. All are imported when they are used: `import fewshot_reenact` loads neither torch
nor OpenCV.
"""

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from fewshot_reenact._version import __version__

if TYPE_CHECKING:
    from fewshot_reenact import errors
    from fewshot_reenact.checks.files import check
    from fewshot_reenact.checks.report import Report
    from fewshot_reenact.motion.motion import Motion
    from fewshot_reenact.pipelines.animate import Animation, animate, animate_with
    from fewshot_reenact.pipelines.evaluate import Evaluation, evaluate
    from fewshot_reenact.pipelines.export import Exported, export
    from fewshot_reenact.pipelines.extract import Extraction, extract
    from fewshot_reenact.pipelines.finetune import FineTuning, finetune
    from fewshot_reenact.pipelines.live import LiveRun, live
    from fewshot_reenact.pipelines.live_figures import LiveFigures
    from fewshot_reenact.pipelines.options import AnimateOptions
    from fewshot_reenact.pipelines.plot import Plotted, plot
    from fewshot_reenact.pipelines.session import Session
    from fewshot_reenact.pipelines.train import TrainingRun, train
    from fewshot_reenact.provenance.verify import MarkReport, verify
    from fewshot_reenact.training.data.clipping import ClipOptions
    from fewshot_reenact.training.data.prepare import Prepared, prepare

# Threads of torch's that wait for work spin, which a machine with other work pays for: see docs/results.md. It is read
# when torch is loaded.
if "torch" not in sys.modules:
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# Where each name is. No module of the package's root has such a name: it would take the function's place.
_PLACES = {
    "animate": "pipelines.animate",
    "animate_with": "pipelines.animate",
    "Animation": "pipelines.animate",
    "AnimateOptions": "pipelines.options",
    "Session": "pipelines.session",
    "live": "pipelines.live",
    "LiveRun": "pipelines.live",
    "LiveFigures": "pipelines.live_figures",
    "extract": "pipelines.extract",
    "Extraction": "pipelines.extract",
    "Motion": "motion.motion",
    "check": "checks.files",
    "Report": "checks.report",
    "verify": "provenance.verify",
    "MarkReport": "provenance.verify",
    "finetune": "pipelines.finetune",
    "FineTuning": "pipelines.finetune",
    "train": "pipelines.train",
    "TrainingRun": "pipelines.train",
    "prepare": "training.data.prepare",
    "Prepared": "training.data.prepare",
    "ClipOptions": "training.data.clipping",
    "plot": "pipelines.plot",
    "Plotted": "pipelines.plot",
    "evaluate": "pipelines.evaluate",
    "Evaluation": "pipelines.evaluate",
    "export": "pipelines.export",
    "Exported": "pipelines.export",
}

__all__ = [
    "AnimateOptions",
    "Animation",
    "ClipOptions",
    "Evaluation",
    "Exported",
    "Extraction",
    "FineTuning",
    "LiveFigures",
    "LiveRun",
    "MarkReport",
    "Motion",
    "Plotted",
    "Prepared",
    "Report",
    "Session",
    "TrainingRun",
    "__version__",
    "animate",
    "animate_with",
    "check",
    "errors",
    "evaluate",
    "export",
    "extract",
    "finetune",
    "live",
    "plot",
    "prepare",
    "train",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name == "errors":
        return import_module("fewshot_reenact.errors")
    if name not in _PLACES:
        raise AttributeError(f"module 'fewshot_reenact' has no attribute {name!r}")
    return getattr(import_module(f"fewshot_reenact.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
