"""A page in the browser for the main job: the same as `reenact animate`, with the same marks. Needs the extra `ui`.

It is served from this machine to this machine. What is put into it lies in a temporary folder until the page is closed.
"""

import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from fewshot_reenact.checks.files import check
from fewshot_reenact.errors import ReenactError, UsageError
from fewshot_reenact.motion.builtins import NAMES, PREFIX
from fewshot_reenact.motion.retarget import MOTIONS, REGION_CHOICES, MotionMode, Region
from fewshot_reenact.pipelines.animate import animate
from fewshot_reenact.pipelines.options import FRAMES, AnimateOptions, Frame
from fewshot_reenact.provenance.consent import RULES

Tell = Callable[[float, str], None]
"""Called with the share done, 0 to 1, and what is being done."""

_default = AnimateOptions.default
_STAGES = {"driver": "measuring the driver", "render": "rendering"}


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
        raise UsageError("gradio is needed: pip install 'fewshot-reenact[ui]'") from error

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
                    region = gr.Radio(list(REGION_CHOICES), value=_default("region"), label="What moves")
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
    with tempfile.TemporaryDirectory(prefix="reenact-ui-") as folder:
        page = make_page(Path(folder))
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
            )
        except OSError as error:
            raise UsageError(f"{host}:{port}: cannot be served there ({error}); choose another --port") from error
        say(f"http://{host}:{port}  (Ctrl-C ends it)")
        page.block_thread()
