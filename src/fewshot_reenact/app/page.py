"""The page in the browser: tabs for animate, fine-tune, live, check, verify. Needs the extra `ui`; `serving` serves it.

No annotations from the future here: gradio reads the types of the functions it is given.
"""

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import gradio as gr

from fewshot_reenact.app.faces import face_at
from fewshot_reenact.app.form import FIELDS, options_from
from fewshot_reenact.app.visitors import Made, Tell, Visitors
from fewshot_reenact.errors import ReenactError
from fewshot_reenact.motion.builtins import NAMES
from fewshot_reenact.provenance.consent import RULES

_ASSETS = files("fewshot_reenact") / "assets"
_EXAMPLES = ("grace_hopper.jpg", "astronaut.jpg")
_SHOWN: Any = {"interactive": False, "buttons": ["download", "fullscreen"]}  # and none that sends it somewhere
_FIRST = "animate"  # tab
_JOB = "job"  # what waits for its turn: one is done at a time
_FASTEST = 0.1  # seconds between pictures of the camera that are asked for


def make_page(visitors: Visitors, texts: Mapping[str, str]) -> gr.Blocks:
    """The page for these visitors. texts: help of each option, by its name in AnimateOptions."""
    with gr.Blocks(title="fewshot-reenact", analytics_enabled=False) as page:
        gr.Markdown(f"# fewshot-reenact\n{RULES}")
        with gr.Tabs() as tabs:
            with gr.Tab("Animate", id=_FIRST):
                portraits = _animate_tab(visitors, texts)
            with gr.Tab("Fine-tune"):
                _finetune_tab(visitors, portraits, tabs)
            with gr.Tab("Live"):
                _live_tab(visitors)
            with gr.Tab("Check"):
                _check_tab(visitors)
            with gr.Tab("Verify"):
                _verify_tab(visitors)

        def leave(request: gr.Request) -> None:
            visitors.leave(request.session_hash)

        page.unload(leave)
    return page


def _animate_tab(visitors: Visitors, texts: Mapping[str, str]) -> gr.File:
    """Returns where portraits are put in."""
    with gr.Row():
        with gr.Column():
            portraits, face = _portrait_part(visitors)
            video, file, builtin = _driver_part(visitors)
            with gr.Accordion("Options", open=False):
                parts = {field.name: field.part(gr, texts.get(field.name, "")) for field in FIELDS}
            agreed, consent = _agreement("this picture", "the signed manifest", "")
            button = _start_and_stop(visitors, "Animate", "animate", "stop")
        with gr.Column():
            output = gr.Video(label="Output", interactive=False, elem_id="output")
            picture = gr.Image(label="Output", type="filepath", visible=False, elem_id="output-picture", **_SHOWN)
            beside = gr.HTML(visible=False, elem_id="beside")
            said = gr.Textbox(label="What was done", interactive=False, lines=3, elem_id="said")
            marks = gr.Textbox(label="What reenact verify says of it", interactive=False, lines=4, elem_id="marks")
    face.change(lambda number: number, face, parts["face"], show_progress="hidden")

    def make(
        request: gr.Request,
        *given: Any,
        progress: Any = gr.Progress(),  # noqa: B008  # how gradio finds it
    ) -> tuple[Any, Any, Any, str, str]:
        portraits, video, file, builtin, agreed, consent, *filled = given

        def work() -> Made:
            options = options_from(dict(zip(parts, filled, strict=True)), consent)
            visitor = visitors.of(request.session_hash)
            return visitor.animate(portraits, video or file, builtin, options, agreed=agreed, tell=_shown_by(progress))

        made = _said(work)
        place = str(made.output)
        return (
            gr.update(value=None if made.is_picture else place, visible=not made.is_picture),
            gr.update(value=place if made.is_picture else None, visible=made.is_picture),
            gr.update(value=made.comparison, visible=bool(made.comparison)),
            made.said,
            made.marks,
        )

    button.click(
        make,
        [portraits, video, file, builtin, agreed, consent, *parts.values()],
        [output, picture, beside, said, marks],
        concurrency_id=_JOB,
        show_progress_on=said,
    )
    return portraits


def _portrait_part(visitors: Visitors) -> tuple[gr.File, gr.State]:
    """Where portraits are put in, with what is seen in them. Returns them and the number of the clicked face."""
    portraits = gr.File(
        label="Portrait, or several of one person", file_count="multiple", type="filepath", elem_id="portraits"
    )
    examples = gr.Radio(list(_EXAMPLES), label="or one that comes with the tool", elem_id="example")
    seen, verdict = _what_is_seen("")
    choose = gr.Image(label="Several faces: click the one that is to move", visible=False, elem_id="choose", **_SHOWN)
    boxes, face = gr.State([]), gr.State("")

    def offer(given: list[str] | None, request: gr.Request) -> tuple[Any, list[Any]]:
        found = visitors.several_faces(given)
        picture, there = (None, []) if found is None else found
        shown = None if picture is None else str(visitors.of(request.session_hash).show(picture, "faces"))
        return gr.update(value=shown, visible=shown is not None), there

    def pick(there: list[Any], event: gr.SelectData) -> Any:
        number = face_at(there, *event.index)
        return gr.skip() if number is None else str(number)

    examples.change(lambda example: [str(_ASSETS / example)], examples, portraits)
    portraits.change(_look(visitors), portraits, [verdict, seen])
    portraits.change(offer, portraits, [choose, boxes])
    choose.select(pick, boxes, face)
    return portraits, face


def _driver_part(visitors: Visitors) -> tuple[gr.Video, gr.File, gr.Dropdown]:
    """Where a driver is put in, with what is seen in it. Returns the three ways to name one."""
    video = gr.Video(label="Driver: a video whose movements are taken", elem_id="driver")
    file = gr.File(
        label="or a picture whose pose is taken, a motion file, or a video that browsers cannot show",
        type="filepath",
        elem_id="driver-file",
    )
    seen, verdict = _what_is_seen("driver-")
    builtin = gr.Dropdown(
        list(NAMES), value=NAMES[0], label="or, without any of them, a built-in motion", elem_id="builtin"
    )
    for given in (video, file):
        given.change(_look(visitors), given, [verdict, seen])
    return video, file, builtin


def _what_is_seen(prefix: str) -> tuple[gr.Image, gr.Textbox]:
    """The annotated picture of what was put in, and the advice; hidden until there is some."""
    seen = gr.Image(label="What is seen in it", visible=False, elem_id=f"{prefix}seen", **_SHOWN)
    return seen, gr.Textbox(
        label="What reenact check says of it", visible=False, interactive=False, lines=4, elem_id=f"{prefix}verdict"
    )


def _look(visitors: Visitors) -> Any:
    """What fills the two parts of _what_is_seen."""

    def look(given: list[str] | str | None, request: gr.Request) -> tuple[Any, Any]:
        words, picture = _said(lambda: visitors.of(request.session_hash).look_at(given))
        return gr.update(value=words, visible=bool(words)), gr.update(value=picture, visible=picture is not None)

    return look


def _finetune_tab(visitors: Visitors, portraits: gr.File, tabs: gr.Tabs) -> None:
    """portraits: of the first tab, where a person can go on to."""
    gr.Markdown("Networks are fitted to one person, by pictures or a video. What comes out is a portrait.")
    pictures = gr.File(
        label="Pictures of one person", file_count="multiple", type="filepath", elem_id="person-pictures"
    )
    agreed, consent = _agreement("these pictures", "the file", "person-")
    go = _start_and_stop(visitors, "Fine-tune", "finetune", "person-stop")
    person = gr.File(label="The person", interactive=False, elem_id="person")
    use = gr.Button("Use as the portrait", visible=False, elem_id="person-use")
    said = gr.Textbox(label="What was done", interactive=False, lines=3, elem_id="person-said")

    def fit(
        request: gr.Request,
        *given: Any,
        progress: Any = gr.Progress(),  # noqa: B008  # how gradio finds it
    ) -> tuple[str, str, Any]:
        files, agreed, consent = given
        visitor = visitors.of(request.session_hash)
        made = _said(lambda: visitor.fit_person(files, consent, agreed=agreed, tell=_shown_by(progress)))
        return (*made, gr.update(visible=True))

    go.click(fit, [pictures, agreed, consent], [person, said, use], concurrency_id=_JOB, show_progress_on=said)
    use.click(lambda person: ([person], gr.Tabs(selected=_FIRST)), person, [portraits, tabs])


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
        shown = _said(lambda: visitors.of(request.session_hash).live(portrait, picture, mirror))
        return None if shown is None else str(shown)

    camera.stream(
        move, [portrait, camera, mirror], shown, stream_every=_FASTEST, concurrency_limit=1, show_progress="hidden"
    )


def _check_tab(visitors: Visitors) -> None:
    given = gr.File(label="Pictures and videos", file_count="multiple", type="filepath", elem_id="check-files")
    go = gr.Button("Check", variant="primary", elem_id="check")
    words = gr.Textbox(label="What reenact check says", interactive=False, lines=12, elem_id="check-said")
    picture = gr.Image(label="What it saw", elem_id="check-seen", **_SHOWN)

    def look(given: list[str] | None, request: gr.Request) -> tuple[str, str | None]:
        return _said(lambda: visitors.of(request.session_hash).look_at(given))

    go.click(look, given, [words, picture])


def _verify_tab(visitors: Visitors) -> None:
    given = gr.File(label="Videos and pictures", file_count="multiple", type="filepath", elem_id="verify-files")
    go = gr.Button("Verify", variant="primary", elem_id="verify")
    words = gr.Textbox(label="What reenact verify says", interactive=False, lines=10, elem_id="verify-said")

    def look(given: list[str] | None, request: gr.Request) -> str:
        return _said(lambda: visitors.of(request.session_hash).look_for_marks(given))

    go.click(look, given, words)
    given.change(lambda: "", None, words)


def _said(work: Any) -> Any:
    """What `work` gives; what is wrong with the input is said on the page in its own words."""
    try:
        return work()
    except ReenactError as error:
        raise gr.Error(str(error), print_exception=False) from error
