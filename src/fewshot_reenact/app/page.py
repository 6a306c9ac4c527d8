"""The page in the browser: tabs for animate, fine-tune, live, check, verify. Needs the extra `ui`; `serving` serves it.

No annotations from the future here: gradio reads the types of the functions it is given.
"""

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import gradio as gr

from fewshot_reenact.app.faces import face_at
from fewshot_reenact.app.form import FIELDS, options_from
from fewshot_reenact.app.visitors import Tell, Visitors, look_at, look_for_marks
from fewshot_reenact.errors import ReenactError
from fewshot_reenact.motion.builtins import NAMES
from fewshot_reenact.provenance.consent import RULES

_ASSETS = files("fewshot_reenact") / "assets"
_EXAMPLES = ("grace_hopper.jpg", "astronaut.jpg")
_SHOWN: Any = {"interactive": False, "buttons": ["download", "fullscreen"]}  # and none that sends it somewhere
_FASTEST = 0.1  # seconds between pictures of the camera that are asked for


def make_page(visitors: Visitors, texts: Mapping[str, str]) -> gr.Blocks:
    """The page for these visitors. texts: help of each option, by its name in AnimateOptions."""
    with gr.Blocks(title="fewshot-reenact", analytics_enabled=False) as page:
        gr.Markdown(f"# fewshot-reenact\n{RULES}")
        with gr.Tab("Animate"):
            _animate_tab(visitors, texts)
        with gr.Tab("Fine-tune"):
            _finetune_tab(visitors)
        with gr.Tab("Live"):
            _live_tab(visitors)
        with gr.Tab("Check"):
            _check_tab(visitors)
        with gr.Tab("Verify"):
            _verify_tab()

        def leave(request: gr.Request) -> None:
            visitors.leave(request.session_hash)

        page.unload(leave)
    return page


def _animate_tab(visitors: Visitors, texts: Mapping[str, str]) -> None:
    with gr.Row():
        with gr.Column():
            portraits = gr.File(
                label="Portrait, or several of one person", file_count="multiple", type="filepath", elem_id="portraits"
            )
            examples = gr.Radio(list(_EXAMPLES), label="or one that comes with the tool", elem_id="example")
            seen = gr.Image(label="What is seen in it", visible=False, elem_id="seen", **_SHOWN)
            choose = gr.Image(
                label="Several faces: click the one that is to move", visible=False, elem_id="choose", **_SHOWN
            )
            boxes = gr.State([])
            video = gr.Video(label="Driver: a video whose movements are taken", elem_id="driver")
            file = gr.File(label="or a motion file, or a video that browsers cannot show", elem_id="driver-file")
            builtin = gr.Dropdown(
                list(NAMES), value=NAMES[0], label="or, without any of them, a built-in motion", elem_id="builtin"
            )
            with gr.Accordion("Options", open=False):
                parts = [field.part(gr, texts.get(field.name, "")) for field in FIELDS]
            agreed, consent = _agreement("this picture", "the signed manifest", "")
            button = _start_and_stop(visitors, "Animate", "animate", "stop")
        with gr.Column():
            output = gr.Video(label="Output", interactive=False, elem_id="output")
            said = gr.Textbox(label="What was done", interactive=False, elem_id="said")
            marks = gr.Textbox(label="What reenact verify says of it", interactive=False, lines=4, elem_id="marks")
            verdict = gr.Textbox(
                label="What reenact check says of the input", interactive=False, lines=8, elem_id="verdict"
            )

    def take(example: str) -> list[str]:
        return [str(_ASSETS / example)]

    def look(given: list[str] | str | None, request: gr.Request) -> tuple[str, Any]:
        words, picture = _said(lambda: look_at(given, visitors.of(request.session_hash).folder))
        return words, gr.update(value=picture, visible=picture is not None)

    def make(
        request: gr.Request,
        *given: Any,
        progress: Any = gr.Progress(),  # noqa: B008  # how gradio finds it
    ) -> tuple[str, str, str]:
        portraits, video, file, builtin, agreed, consent, *filled = given

        def work() -> tuple[str, str, str]:
            options = options_from(dict(zip((field.name for field in FIELDS), filled, strict=True)), consent)
            return visitors.of(request.session_hash).make_video(
                portraits,
                video or file,
                builtin,
                options,
                agreed=agreed,
                tell=_shown_by(progress),
            )

        return _said(work)

    def offer(given: list[str] | None) -> tuple[Any, list[Any]]:
        found = visitors.several_faces(given)
        picture, there = (None, []) if found is None else found
        return gr.update(value=picture, visible=picture is not None), there

    def pick(there: list[Any], event: gr.SelectData) -> Any:
        number = face_at(there, *event.index)
        return gr.skip() if number is None else str(number)

    portraits.change(offer, portraits, [choose, boxes])
    choose.select(pick, boxes, parts[[field.name for field in FIELDS].index("face")])
    examples.change(take, examples, portraits)
    portraits.change(look, portraits, [verdict, seen])
    video.change(look, video, [verdict, seen])
    file.change(look, file, [verdict, seen])
    button.click(make, [portraits, video, file, builtin, agreed, consent, *parts], [output, said, marks])


def _finetune_tab(visitors: Visitors) -> None:
    gr.Markdown("Networks are fitted to one person, by pictures or a video. What comes out is a portrait.")
    pictures = gr.File(
        label="Pictures of one person", file_count="multiple", type="filepath", elem_id="person-pictures"
    )
    agreed, consent = _agreement("these pictures", "the file", "person-")
    go = _start_and_stop(visitors, "Fine-tune", "finetune", "person-stop")
    person = gr.File(label="The person", interactive=False, elem_id="person")
    said = gr.Textbox(label="What was done", interactive=False, elem_id="person-said")

    def fit(
        request: gr.Request,
        *given: Any,
        progress: Any = gr.Progress(),  # noqa: B008  # how gradio finds it
    ) -> tuple[str, str]:
        files, agreed, consent = given
        visitor = visitors.of(request.session_hash)
        return _said(lambda: visitor.fit_person(files, consent, agreed=agreed, tell=_shown_by(progress)))

    go.click(fit, [pictures, agreed, consent], [person, said])


def _agreement(what: str, kept: str, prefix: str) -> tuple[gr.Checkbox, gr.Textbox]:
    """The box and the line that go before anything is made. kept: where the line is. prefix: of their names."""
    agreed = gr.Checkbox(label=f"I may use {what} in this way, and keep to the rules above", elem_id=f"{prefix}agreed")
    return agreed, gr.Textbox(label=f"How the person shown agreed; kept in {kept}", elem_id=f"{prefix}consent")


def _start_and_stop(visitors: Visitors, action: str, name: str, stop_name: str) -> gr.Button:
    """The button that starts something, beside the one that ends it. Returns the first."""

    def end(request: gr.Request) -> None:
        visitors.of(request.session_hash).stop()

    with gr.Row():
        go = gr.Button(action, variant="primary", elem_id=name)
        gr.Button("Stop", elem_id=stop_name).click(end, queue=False)
    return go


def _shown_by(progress: Any) -> Tell:
    """What shows on the page how far something is."""
    return lambda share, what: progress(share, desc=what)


def _live_tab(visitors: Visitors) -> None:
    gr.Markdown("The portrait moves as you do. The label is always in the picture; nothing is kept.")
    with gr.Row():
        with gr.Column():
            portrait = gr.Image(label="Portrait", type="filepath", sources=["upload"], elem_id="live-portrait")
            camera = gr.Image(label="Camera", sources=["webcam"], streaming=True, type="numpy", elem_id="camera")
            mirror = gr.Checkbox(value=True, label="As in a mirror")
        shown = gr.Image(label="Portrait, moving", streaming=True, elem_id="live", **_SHOWN)

    def move(portrait: str | None, picture: Any, mirror: bool, request: gr.Request) -> Any:
        return _said(lambda: visitors.of(request.session_hash).live(portrait, picture, mirror))

    camera.stream(
        move, [portrait, camera, mirror], shown, stream_every=_FASTEST, concurrency_limit=1, show_progress="hidden"
    )


def _check_tab(visitors: Visitors) -> None:
    given = gr.File(label="Pictures and videos", file_count="multiple", type="filepath", elem_id="check-files")
    go = gr.Button("Check", variant="primary", elem_id="check")
    words = gr.Textbox(label="What reenact check says", interactive=False, lines=12, elem_id="check-said")
    picture = gr.Image(label="What it saw", elem_id="check-seen", **_SHOWN)

    def look(given: list[str] | None, request: gr.Request) -> tuple[str, str | None]:
        return _said(lambda: look_at(given, visitors.of(request.session_hash).folder))

    go.click(look, given, [words, picture])


def _verify_tab() -> None:
    given = gr.File(label="Videos and pictures", file_count="multiple", type="filepath", elem_id="verify-files")
    go = gr.Button("Verify", variant="primary", elem_id="verify")
    words = gr.Textbox(label="What reenact verify says", interactive=False, lines=10, elem_id="verify-said")
    go.click(lambda given: _said(lambda: look_for_marks(given)), given, words)
    given.change(lambda: "", None, words)


def _said(work: Any) -> Any:
    """What `work` gives; what is wrong with the input is said on the page in its own words."""
    try:
        return work()
    except ReenactError as error:
        raise gr.Error(str(error), print_exception=False) from error
