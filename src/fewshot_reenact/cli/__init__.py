"""The command line: options, messages and exit codes; the work is in the pipelines."""

import click

from fewshot_reenact._version import __version__
from fewshot_reenact.cli.common import Commands

# In the order of --help. A new command is a module beside this one and a line here.
COMMANDS: dict[str, str] = {
    "animate": "fewshot_reenact.cli.animate:animate",
    "live": "fewshot_reenact.cli.live:live",
    "batch": "fewshot_reenact.cli.batch:batch",
    "finetune": "fewshot_reenact.cli.finetune:finetune",
    "prepare": "fewshot_reenact.cli.prepare:prepare",
    "train": "fewshot_reenact.cli.train:train",
    "plot": "fewshot_reenact.cli.plot:plot",
    "evaluate": "fewshot_reenact.cli.evaluate:evaluate",
    "extract": "fewshot_reenact.cli.extract:extract",
    "verify": "fewshot_reenact.cli.verify:verify",
    "history": "fewshot_reenact.cli.history:history",
    "protect": "fewshot_reenact.cli.protect:protect",
    "keys": "fewshot_reenact.cli.keys:keys",
    "check": "fewshot_reenact.cli.check:check",
    "export": "fewshot_reenact.cli.export:export",
    "models": "fewshot_reenact.cli.models:models",
    "push": "fewshot_reenact.cli.push:push",
    "ui": "fewshot_reenact.cli.ui:ui",
    "info": "fewshot_reenact.cli.info:info",
}


@click.group(
    cls=Commands, lazy=COMMANDS, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.version_option(__version__, prog_name="reenact", message="%(prog)s %(version)s")
def main() -> None:
    """Animate a portrait with the movements of a driving video.

    Use it only with pictures of people who agreed to it.

    \b
    Exit codes:
      0    done
      1    internal error; verify: no mark found; train: the loss is no number
      2    usage: an option, or an output that cannot be written there
      3    an input that cannot be used
      4    a model that is missing or damaged
      75   stopped by SIGTERM, with what was done saved: train, and animate of a long video
      129  the terminal was closed (SIGHUP)
      130  Ctrl-C
      143  stopped by SIGTERM
    """
