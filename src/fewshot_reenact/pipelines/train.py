"""`train` for Python: a config, a folder, and what came of it."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fewshot_reenact._version import __version__
from fewshot_reenact.training.trainers import load_any


@dataclass(frozen=True)
class TrainingRun:
    """Where a training run stands. folder: of checkpoints, log and pictures. model: the averaged weights; of
    meta-learning, `animate(model=...)` takes them; of a refiner, the folder of checkpoints. step, steps: reached, and
    of the whole run. device: where it ran, and why there.
    """

    folder: Path
    model: Path
    step: int
    steps: int
    device: str

    def report(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        plain = {**asdict(self), "folder": str(self.folder), "model": str(self.model)}
        return {"schema": "fewshot-reenact/train/1", "version": __version__, **plain}


def train(
    config: str | Path,
    run: str | Path,
    *,
    device: str = "auto",
    steps: int | None = None,
    max_minutes: float | None = None,
    clips: str | Path | None = None,
    perceptual: str | Path | None = None,
    identity: str | Path | None = None,
) -> TrainingRun:
    """Train the networks on a folder of square talking-head clips, or go on training.

    config: a YAML file, or "meta", "tiny" or "paper", which come with the package; its `trainer` says what is trained.
    run: the folder of checkpoints, log and pictures; the same
    folder again goes on where it stopped. device: "auto", "cpu", "cuda", "cuda:1", "mps". steps: the length of the
    whole run, in place of the config's. max_minutes: stop after so long, cleanly, with everything saved. clips: what is
    learnt from, in place of the config's `data.clips`. perceptual, identity: files of the networks that compare
    features and faces, in place of the config's.

    Returns a TrainingRun. Raises UsageError (a wrong config; a folder of another one), ModelError, and ReenactError
    when the loss is no number any more or, with everything saved and `exit_code` 75, when SIGTERM came. Outside the
    main thread no signal is heeded.

    Example:

        from fewshot_reenact import train

        done = train("config.yaml", "run/mine", max_minutes=55)
        print(done.step, done.model)
    """
    _, job = load_any(config, steps=steps, clips=clips, perceptual=perceptual, identity=identity)
    where, why = job.choose_device(device)
    job.check()
    folder = Path(run)
    step = job(folder, where, max_minutes)
    return TrainingRun(folder, folder / job.result, step, job.steps, f"{where} ({why})")
