"""`reenact export`: options only; the work is in `fewshot_reenact.pipelines.export`."""

from pathlib import Path

import click

from fewshot_reenact.cli import common
from fewshot_reenact.cli.common import say


@click.command(short_help="Write the networks as ONNX files, for programs without PyTorch.")
@click.option(
    "--onnx",
    required=True,
    type=common.FILE,
    metavar="DIR",
    help="The folder to write into; it is made if it is not there.",
)
@click.option("--model", type=common.FILE, metavar=common.MODEL, help="Other weights. [default: the built-in model]")
@common.threads_option
@common.overwrite_option
@common.report_option
def export(onnx: Path, model: Path | None, overwrite: bool, report: Path | None) -> None:
    """Write detector, points, embedder, generator, refiner and matte as ONNX files.

    networks.json and README.md beside them say what goes in and what comes out. Pictures made with these files carry no
    marks: who publishes them must say that they were made by a machine. Needs the extra onnx; where it is missing, the
    command that adds it is said.

    \b
    reenact export --onnx networks/
    reenact export --onnx networks/ --model run/tiny/model.safetensors --overwrite
    """
    from fewshot_reenact.pipelines.export import export as run

    common.check_report(report, overwrite, () if model is None else (model,))
    with common.progress_bar("exporting", "networks") as bar:
        made = run(onnx, model=model, overwrite=overwrite, progress=lambda _, done, total: bar(done, total))
    names = ", ".join(path.name for path in made.files)
    say(f"{onnx}: {names} ({made.seconds:.1f} s)", err=str(report) == "-")
    common.write_report(made.report(), report, overwrite)
