"""A page in the browser for the main job: the same as `reenact animate`, with the same marks. Needs the extra `ui`.

It is served from this machine to this machine. What is put into it lies in a temporary folder until the page is closed.
"""

import os
import shutil
import socket
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from fewshot_reenact.checks.files import check
from fewshot_reenact.errors import MissingExtra, ReenactError, UsageError
from fewshot_reenact.files import held_folder
from fewshot_reenact.motion.builtins import NAMES, PREFIX
from fewshot_reenact.motion.retarget import MOTIONS, REGION_CHOICES, MotionMode, Region
from fewshot_reenact.pipelines.animate import animate
from fewshot_reenact.pipelines.options import FRAMES, AnimateOptions, Frame
from fewshot_reenact.provenance.consent import RULES

Tell = Callable[[float, str], None]
"""Called with the share done, 0 to 1, and what is being done."""

_default = AnimateOptions.default
_PREFIX = "reenact-ui-"  # of the temporary folder
_IN_USE = "another page has this folder"
_JUST_MADE = 60.0  # seconds, in which a page that starts comes to hold its folder
_LARGEST = "2gb"  # of a file that is put in
_HERE = ("127.0.0.1", "localhost", "::1")
_STAGES = {"portrait": "measuring the portrait", "driver": "measuring the driver", "render": "rendering"}


def make_video(
    folder: Path,
    portraits: list[str] | None,
    video: str | None,
    builtin: str,
    motion: MotionMode = "relative",
    region: Region = "all",
    strength: float = 1.0,
    frame: Frame = "full",
    compare: bool = False,
    label: bool = True,
    consent: str = "",
    *,
    tell: Tell = lambda share, what: None,
) -> tuple[str, str]:
    """Animate what was put into the page. Returns the video's path, new in `folder`, and what is to be said of it.

    portraits: pictures of one person. video: the driver; without one the built-in motion of this name. The other
    options are animate's. Raises ReenactError as animate does, and UsageError when there is no portrait.
    """
    if not portraits:
        raise UsageError("give a portrait: a picture with a face")

    def progress(stage: str, done: int, total: int | None) -> None:
        tell(done / total if total else 0.0, _STAGES[stage])

    output = Path(tempfile.mkdtemp(dir=folder)) / "animated.mp4"
    made = animate(
        portraits,
        video or f"{PREFIX}{builtin}",
        output,
        motion=motion,
        region=region,
        strength=strength,
        frame=frame,
        compare=compare,
        label=label,
        consent=consent or None,
        keep_going=False,  # the next output is another file
        progress=progress,
    )
    lines = [f"{made.frames} frames, {made.width}x{made.height}, {made.seconds['all']:.1f} s on {made.device}"]
    return str(made.output), "\n".join([*lines, *made.warnings])


def look_at(files: list[str] | str | None) -> str:
    """What `reenact check` says of the files, before anything is made of them."""
    given = [files] if isinstance(files, str) else files
    if not given:
        return ""
    reports = check([Path(file) for file in given])
    return "\n\n".join(replace(report, file=Path(report.file).name).in_words() for report in reports)


def make_page(folder: Path) -> Any:
    """The page, a gradio.Blocks. folder: for videos made. Raises UsageError when gradio is not installed."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # it would tell its makers of each start
    os.environ["GRADIO_TEMP_DIR"] = str(folder / "put-in")
    try:
        import gradio as gr
    except ImportError as error:
        raise MissingExtra("gradio is needed", "ui") from error

    def make(*given: Any, progress: Any = gr.Progress()) -> tuple[str, str]:  # noqa: B008  # how gradio finds it
        try:
            return make_video(folder, *given, tell=lambda share, what: progress(share, desc=what))
        except ReenactError as error:
            raise gr.Error(str(error), print_exception=False) from error

    with gr.Blocks(title="fewshot-reenact", analytics_enabled=False) as page:
        gr.Markdown(f"# fewshot-reenact\n{RULES}")
        with gr.Row():
            with gr.Column():
                portraits = gr.File(label="Portrait, or several of one person", file_count="multiple", type="filepath")
                video = gr.Video(label="Driver: a video whose movements are taken")
                builtin = gr.Dropdown(list(NAMES), value=NAMES[0], label="or, without a video, a built-in motion")
                with gr.Accordion("Options", open=False):
                    motion = gr.Radio(list(MOTIONS), value=_default("motion"), label="Motion")
                    region = gr.Radio(list(REGION_CHOICES), value="all", label="What moves")
                    strength = gr.Slider(0, 2, value=_default("strength"), step=0.1, label="Strength")
                    frame = gr.Radio(
                        list(FRAMES), value=_default("frame"), label="Whole picture, or a square about the head"
                    )
                    compare = gr.Checkbox(label="Portrait, driver and output side by side")
                    label = gr.Checkbox(value=True, label='Visible label "AI-generated" (other marks are always there)')
                    consent = gr.Textbox(label="How the person shown agreed; kept in the signed manifest")
                button = gr.Button("Animate", variant="primary")
            with gr.Column():
                output = gr.Video(label="Output", interactive=False)
                said = gr.Textbox(label="What was done", interactive=False)
                verdict = gr.Textbox(label="What reenact check says of the input", interactive=False, lines=8)
        portraits.change(look_at, portraits, verdict)
        video.change(look_at, video, verdict)
        given = [portraits, video, builtin, motion, region, strength, frame, compare, label, consent]
        button.click(make, given, [output, said])
    return page


def serve(host: str, port: int, open_browser: bool, say: Callable[[str], None] = print) -> None:
    """Serve the page until Ctrl-C; `say` is told the address. Raises UsageError: no gradio, the port is taken."""
    _check_port(host, port)
    remove_leftovers()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=_PREFIX)))
        stack.enter_context(held_folder(folder, _IN_USE))
        page = make_page(folder)
        import gradio as gr

        plain = gr.themes.Default(
            font=["system-ui", "sans-serif"], font_mono=["monospace"]
        )  # no fonts from the network
        try:
            page.launch(
                server_name=host,
                server_port=port,
                inbrowser=open_browser,
                share=False,
                ssr_mode=False,
                footer_links=[],
                theme=plain,
                quiet=True,
                prevent_thread_lock=True,
                max_file_size=_LARGEST,
                app_kwargs={"middleware": guard(host)},
            )
        except OSError as error:
            raise _taken(host, port) from error
        say(f"http://{f'[{host}]' if ':' in host else host}:{port}  (Ctrl-C ends it)")
        page.block_thread()


def guard(host: str) -> list[Any]:
    """What refuses requests that call this machine by another name than its own, as a page on the net does whose name
    was made to lead here. Where the page is served to others, by whatever name, none is refused.
    """
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    if host not in _HERE:
        return []
    return [Middleware(TrustedHostMiddleware, allowed_hosts=[*_HERE, "[::1]", "["], www_redirect=False)]


def remove_leftovers() -> None:
    """Temporary folders, with people's pictures, of pages that were killed: those that no process holds."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        try:
            if time.time() - folder.stat().st_mtime < _JUST_MADE:
                continue
            with held_folder(folder, _IN_USE):
                shutil.rmtree(folder, ignore_errors=True)
        except (UsageError, OSError):  # in use, or another user's
            continue


def _check_port(host: str, port: int) -> None:
    """Raises UsageError: it is taken, or this machine has no such address."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with closing(socket.socket(family, kind, protocol)) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(address)
    except OSError as error:
        raise _taken(host, port, error) from error


def _taken(host: str, port: int, error: OSError | None = None) -> UsageError:
    reason = error.strerror if error and error.strerror else "another program may have it"
    return UsageError(f"{host}:{port}: cannot be served there ({reason}); choose another --port or --host")
