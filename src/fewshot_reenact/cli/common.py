"""What all commands share: how errors reach the user, options that mean the same everywhere, the progress bar, reports.

Commands are loaded when they are used, so that `reenact --help` answers at once and imports neither torch nor OpenCV.
"""

import contextlib
import difflib
import json
import logging
import os
import platform
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from fewshot_reenact._version import __version__
from fewshot_reenact.cli.signals import exit_on_sigterm
from fewshot_reenact.errors import ReenactError, UsageError, notes_of

INTERRUPTED = 130
DEBUG = "REENACT_DEBUG"


class Commands(click.Group):
    """A group whose commands are named 'module:function' and imported when used; it turns errors into exit codes.

    A ReenactError becomes one line on stderr and its exit code, a mistake on the command line one line and 2, Ctrl-C
    130. Anything else is a bug: one line saying what to report and 1, with the traceback only if REENACT_DEBUG=1.
    """

    def __init__(self, *args: Any, lazy: dict[str, str] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lazy = lazy or {}

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """In the order of the registry."""
        return list(self.lazy)  # in the order of the registry: the main job first

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command, imported only now."""
        if cmd_name not in self.lazy:
            return None
        module, function = self.lazy[cmd_name].split(":")
        return getattr(import_module(module), function)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that is named first; for a misspelt one the complaint names the nearest."""
        near = difflib.get_close_matches(args[0], self.lazy, n=1)
        if near and args[0] not in self.lazy:
            ctx.fail(f"No such command {args[0]!r}: did you mean {near[0]}?")
        return super().resolve_command(ctx, args)

    def main(  # type: ignore[override]
        self, args: Sequence[str] | None = None, *, standalone_mode: bool = True, **kwargs: Any
    ) -> Any:
        """Run the command line and exit with its code."""
        kwargs["prog_name"] = "reenact"  # also under `python -m` and in tests: messages name the command people know
        if not standalone_mode:
            return super().main(args, standalone_mode=False, **kwargs)
        for name in ("stdout", "stderr"):
            if getattr(sys, name) is None:  # closed (2>&-): what libraries and bars write goes nowhere
                setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115
        with _log_to_stderr(), exit_on_sigterm():
            sys.exit(self._guarded(args, **kwargs))

    def _guarded(self, args: Sequence[str] | None, **kwargs: Any) -> int:
        """Runs the command line; returns the exit code."""
        try:
            result = super().main(args, standalone_mode=False, **kwargs)
            return result if isinstance(result, int) else 0
        except (click.Abort, KeyboardInterrupt):
            # Click has ended the line that the terminal's ^C stands on.
            return _complain("interrupted; nothing half-written is left behind", INTERRUPTED)
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            return error.exit_code
        except click.ClickException as error:
            return _complain(_usage_line(error), error.exit_code)
        except ReenactError as error:
            return _complain("; ".join([str(error), *notes_of(error)]), error.exit_code)
        except OSError as error:
            # What the library does not foresee, such as a folder that vanishes while it is written to.
            where = f"{error.filename}: " if error.filename else ""
            return _unforeseen(error, f"{where}{error.strerror or error}", UsageError.exit_code)
        except MemoryError as error:
            return _unforeseen(error, "out of memory; use smaller pictures, or close other programs", 1)
        except Exception as error:
            return _unforeseen(error, _bug_report(error), 1)


def _bug_report(error: Exception) -> str:
    place = traceback.extract_tb(error.__traceback__)[-1]
    return (
        f"internal error: {type(error).__name__}: {error} ({Path(place.filename).name}:{place.lineno}, fewshot-reenact "
        f"{__version__}, Python {platform.python_version()}, {platform.system()}); please report this line and the "
        f"command; {DEBUG}=1 shows more"
    )


def _complain(message: str, code: int) -> int:
    say(f"reenact: {' '.join(message.split())}", err=True)
    return code


def say(text: str, err: bool = False) -> None:
    """Print text that may hold what a stranger wrote (names, tags, keys): control codes are shown, not obeyed.

    What the terminal's encoding does not have is shown by its number; where there is no such stream, nothing is.
    """
    stream = sys.stderr if err else sys.stdout
    if stream is None:
        return
    shown = "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)
    encoding = getattr(stream, "encoding", None) or "utf-8"
    click.echo(shown.encode(encoding, "backslashreplace").decode(encoding), err=err)


def _unforeseen(error: BaseException, message: str, code: int) -> int:
    if os.environ.get(DEBUG, "") not in ("", "0"):
        traceback.print_exception(error)
    return _complain("; ".join([message, *notes_of(error)]), code)


def _usage_line(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "reenact"
    return f"{error.format_message().rstrip('.')}; see `{command} --help`"


@contextlib.contextmanager
def _log_to_stderr() -> Iterator[None]:
    """Warnings of the library as lines on stderr; everything from debug upwards if REENACT_DEBUG=1."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("reenact: %(message)s"))
    logger = logging.getLogger("fewshot_reenact")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG if os.environ.get(DEBUG, "") not in ("", "0") else logging.WARNING)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


class Seconds(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.5 on
    """A time in a video: 12, 12.5, 1:02.5 or 1:00:02."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds of a time as it is typed."""
        if isinstance(value, int | float):
            return float(value)
        parts = str(value).split(":")
        try:
            numbers = [float(part) for part in parts]
        except ValueError:
            numbers = []
        # Neither signs nor "nan" nor "inf": only digits and one point.
        if not 1 <= len(numbers) <= 3 or not all(part.replace(".", "", 1).isdigit() for part in parts):
            self.fail(f"{value!r} is not a time: write seconds (12.5) or minutes and seconds (1:02.5)", param, ctx)
        return sum(number * 60**power for power, number in enumerate(reversed(numbers)))


FILE = click.Path(readable=False, path_type=Path)  # what is wrong with it is the library's to say: exit code 3, not 2
MODEL = "FILE|hf:OWNER/NAME[@REV]"  # hf: the Hugging Face Hub, see docs/hub.md
Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

device_option: Decorator = click.option(
    "--device", default="auto", show_default=True, metavar="auto|cpu|cuda|mps", help="Where the networks run."
)
landmarks_option: Decorator = click.option(
    "--landmarks",
    default="builtin",
    show_default=True,
    metavar="builtin|fan",
    help="How faces are measured. fan is face-alignment, which downloads its weights at first use.",
)
face_option: Decorator = click.option(
    "--face",
    default="largest",
    show_default=True,
    metavar="largest|N",
    help="Which face to follow, if there are several; N counts from left to right, beginning with 1.",
)
start_option: Decorator = click.option("--start", type=Seconds(), help="Begin here, in seconds or m:ss.")
end_option: Decorator = click.option("--end", type=Seconds(), help="Stop before here, in seconds or m:ss.")


def _use_threads(_context: click.Context, _option: click.Parameter, count: int | None) -> None:
    if count is not None:
        from fewshot_reenact.device import use_threads

        use_threads(count)


threads_option: Decorator = click.option(
    "--threads",
    type=click.IntRange(1),
    metavar="N",
    expose_value=False,
    callback=_use_threads,
    help="Processor threads. [default: as many as there are processors; animate leaves one to decoding and drawing]",
)
overwrite_option: Decorator = click.option("--overwrite", is_flag=True, help="Replace files that exist.")
report_option: Decorator = click.option(
    "--json", "report", type=FILE, metavar="REPORT", help="Write what was done as JSON; - for standard output."
)


def smooth_option(default: float) -> Decorator:
    """--smooth with the command's own default."""
    return click.option(
        "--smooth",
        type=click.FloatRange(0, 1),
        default=default,
        show_default=True,
        metavar="0..1",
        help="Takes trembling out of the points; 0 leaves them as measured.",
    )


consent_option: Decorator = click.option(
    "--consent",
    metavar="TEXT",
    help="How the person shown agreed; kept in the result (of a video: in its signed manifest), for everyone to read.",
)
accept_use_option: Decorator = click.option(
    "--accept-use",
    is_flag=True,
    help="Accept RESPONSIBLE_USE.md without being asked; so does REENACT_ACCEPT_USE=1.",
)


def agree_to_rules(accept: bool) -> None:
    """Asks once, on a terminal, to accept the rules of use; without one it shows them once and goes on.

    UsageError if they are declined.
    """
    from fewshot_reenact.provenance import consent

    before = consent.state()
    if before == "accepted":
        return
    asks = all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr))
    if not accept and not asks and before == "shown":
        return
    if not accept:
        click.echo(consent.RULES, err=True)
        if asks and not click.confirm("Do you accept this?", err=True):
            raise UsageError("the rules of use were not accepted, so nothing is made")
    try:
        consent.keep("accepted" if accept or asks else "shown")
    except OSError as error:
        warn([f"it could not be kept that this was {'accepted' if accept or asks else 'said'} ({error.strerror})"])


@contextlib.contextmanager
def progress_bar(label: str, unit: str = "frames") -> Iterator[Callable[[int, int | None], None]]:
    """A bar on stderr, only if that is a terminal; yields a function of (done, total)."""
    from tqdm import tqdm

    off = None if sys.stderr is not None else True  # None: tqdm asks whether it is a terminal
    with tqdm(desc=label, unit=f" {unit}", disable=off, leave=False, file=sys.stderr) as bar:

        def show(done: int, total: int | None) -> None:
            if total is not None and bar.total != total:
                bar.total = total
            bar.update(done - bar.n)

        yield show


def check_report(path: Path | None, overwrite: bool, inputs: tuple[str | Path, ...] = ()) -> None:
    """Complains about a report that could not be written before the work is done rather than after. UsageError."""
    if path is not None and str(path) != "-":
        from fewshot_reenact.files import check_output

        check_output(path, overwrite, inputs)


def write_report(report: dict[str, Any], path: Path | None, overwrite: bool) -> None:
    """The report of a command as JSON, to a file or, for -, to standard output. UsageError if it cannot be written."""
    if path is None:
        return
    text = to_json(report)
    if str(path) == "-":
        click.echo(text)
        return
    from fewshot_reenact.files import partial_file

    with partial_file(path, overwrite) as partial:
        partial.write_text(text + "\n", encoding="utf-8")


def to_json(report: Any) -> str:
    """JSON to be printed or kept. Letters stay letters unless some cannot be printed here, or are no text at all."""
    text = json.dumps(report, indent=2, ensure_ascii=False, default=str)
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return json.dumps(report, indent=2, default=str)
    return text if text.replace("\n", "").isprintable() else json.dumps(report, indent=2, default=str)


def warn(lines: list[str]) -> None:
    """What the user should know, one line each, on stderr."""
    for line in lines:
        say(f"reenact: {line}", err=True)
