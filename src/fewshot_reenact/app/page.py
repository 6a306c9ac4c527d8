"""The page in the browser: tabs for animate, fine-tune, live, check, verify. Needs the extra `ui`; `serving` serves it.

No annotations from the future here: gradio reads the types of the functions it is given.
"""

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import gradio as gr

from fewshot_reenact.app.choice import Chooser
from fewshot_reenact.app.form import Upload, fields_for, options_from
from fewshot_reenact.app.parts import SHOWN, said_here
from fewshot_reenact.app.visitor import Made, Tell
from fewshot_reenact.app.visitors import Visitors
from fewshot_reenact.motion.builtins import NAMES
from fewshot_reenact.provenance.consent import RULES

_ASSETS = files("fewshot_reenact") / "assets"
_EXAMPLES = ("grace_hopper.jpg", "astronaut.jpg")
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
                _finetune_tab(visitors, texts, portraits, tabs)
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
            portraits, one = _portrait_part(visitors)
            video, file, builtin, other = _driver_part(visitors)
            fields = fields_for(visitors.offer)
            with gr.Accordion("Options", open=False):
                parts = {field.name: field.part(gr, texts.get(field.option, "")) for field in fields}
            agreed, consent = _agreement("this picture", "", texts)
            button = _start_and_stop(visitors, "Animate", "animate", "stop")
        with gr.Column():
            output = gr.Video(label="Output", interactive=False, elem_id="output")
            picture = gr.Image(label="Output", type="filepath", visible=False, elem_id="output-picture", **SHOWN)
            beside = gr.HTML(visible=False, elem_id="beside")
            said = gr.Textbox(label="What was done", interactive=False, lines=3, elem_id="said")
            marks = gr.Textbox(label="What reenact verify says of it", interactive=False, lines=4, elem_id="marks")
            report = gr.DownloadButton("What was done, as JSON", visible=False, elem_id="report")
    one.chooses(parts["face"], [portraits], lambda given: (given[0] if given else None, None, False))
    asked = [video, file, parts["start"], parts["mirror"]]
    begin = parts["start"]
    other.chooses(
        parts["driver_face"],
        asked,
        lambda video, file, start, mirror: (video or file, start or None, mirror),
        [begin.submit, begin.blur, parts["mirror"].change],
    )
    _keep_with(visitors, *[parts[field.name] for field in fields if isinstance(field, Upload)])

    def make(
        request: gr.Request,
        *given: Any,
        progress: Any = gr.Progress(),  # noqa: B008  # how gradio finds it
    ) -> tuple[Any, Any, Any, str, str, Any]:
        portraits, video, file, builtin, agreed, consent, *filled = given

        def work() -> Made:
            options = options_from(dict(zip(parts, filled, strict=True)), consent, visitors.offer)
            visitor = visitors.of(request.session_hash)
            return visitor.animate(portraits, video or file, builtin, options, agreed=agreed, tell=_shown_by(progress))

        made = said_here(visitors, work)
        place = str(made.output)
        return (
            gr.update(value=None if made.is_picture else place, visible=not made.is_picture),
            gr.update(value=place if made.is_picture else None, visible=made.is_picture),
            gr.update(value=made.comparison, visible=bool(made.comparison)),
            made.said,
            made.marks,
            gr.update(value=str(made.report), visible=True),
        )

    button.click(
        make,
        [portraits, video, file, builtin, agreed, consent, *parts.values()],
        [output, picture, beside, said, marks, report],
        concurrency_id=_JOB,
        show_progress_on=said,
    )
    return portraits


def _portrait_part(visitors: Visitors) -> tuple[gr.File, Chooser]:
    """Where portraits are put in, with what is seen in them."""
    portraits = gr.File(
        label="Portrait, or several of one person", file_count="multiple", type="filepath", elem_id="portraits"
    )
    examples = gr.Radio(list(_EXAMPLES), label="or one that comes with the tool", elem_id="example")
    seen, verdict = _what_is_seen("")
    examples.change(lambda example: [str(_ASSETS / example)], examples, portraits)
    portraits.change(_look(visitors), portraits, [verdict, seen])
    return portraits, Chooser(visitors, "Several faces: click the one that is to move", "choose")


def _driver_part(visitors: Visitors) -> tuple[gr.Video, gr.File, gr.Dropdown, Chooser]:
    """Where a driver is put in, with what is seen in it. Returns the three ways to name one, too."""
    video = gr.Video(label="Driver: a video whose movements are taken", elem_id="driver")
    file = gr.File(
        label="or a picture whose pose is taken, a motion file, or a video that browsers cannot show",
        type="filepath",
        elem_id="driver-file",
    )
    seen, verdict = _what_is_seen("driver-")
    chooser = Chooser(visitors, "Several faces: click the one whose movements are taken", "driver-choose")
    builtin = gr.Dropdown(
        list(NAMES), value=NAMES[0], label="or, without any of them, a built-in motion", elem_id="builtin"
    )
    for given in (video, file):
        given.change(_look(visitors), given, [verdict, seen])
    return video, file, builtin, chooser


def _what_is_seen(prefix: str) -> tuple[gr.Image, gr.Textbox]:
    """The annotated picture of what was put in, and the advice; hidden until there is some."""
    seen = gr.Image(label="What is seen in it", visible=False, elem_id=f"{prefix}seen", **SHOWN)
    return seen, gr.Textbox(
        label="What reenact check says of it", visible=False, interactive=False, lines=4, elem_id=f"{prefix}verdict"
    )


def _look(visitors: Visitors) -> Any:
    """What fills the two parts of _what_is_seen."""

    def look(given: list[str] | str | None, request: gr.Request) -> tuple[Any, Any]:
        words, picture = said_here(visitors, lambda: visitors.of(request.session_hash).look_at(given))
        return gr.update(value=words, visible=bool(words)), gr.update(value=picture, visible=picture is not None)

    return look


def _finetune_tab(visitors: Visitors, texts: Mapping[str, str], portraits: gr.File, tabs: gr.Tabs) -> None:
    """portraits: of the first tab, where a person can go on to."""
    gr.Markdown("Networks are fitted to one person, by pictures or a video. What comes out is a portrait.")
    pictures = gr.File(
        label="Pictures of one person", file_count="multiple", type="filepath", elem_id="person-pictures"
    )
    agreed, consent = _agreement("these pictures", "person-", texts)
    _keep_with(visitors, pictures)
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
        made = said_here(visitors, lambda: visitor.fit_person(files, consent, agreed=agreed, tell=_shown_by(progress)))
        return (*made, gr.update(visible=True))

    go.click(fit, [pictures, agreed, consent], [person, said, use], concurrency_id=_JOB, show_progress_on=said)
    use.click(lambda person: ([person], gr.Tabs(selected=_FIRST)), person, [portraits, tabs])


def _agreement(what: str, prefix: str, texts: Mapping[str, str]) -> tuple[gr.Checkbox, gr.Textbox]:
    """The box and the line that go before anything is made. prefix: of their names."""
    agreed = gr.Checkbox(label=f"I may use {what} in this way, and keep to the rules above", elem_id=f"{prefix}agreed")
    consent = gr.Textbox(label="Consent", info=texts.get("consent", ""), elem_id=f"{prefix}consent")
    return agreed, consent


def _keep_with(visitors: Visitors, *parts: Any) -> None:
    """What is put in there goes with who put it in, also where nothing is made of it."""

    def keep(given: Any, request: gr.Request) -> None:
        visitors.of(request.session_hash).remember([given] if isinstance(given, str) else given or [])

    for part in parts:
        part.change(keep, part, None, show_progress="hidden")


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
        shown = gr.Image(label="Portrait, moving", streaming=True, elem_id="live", **SHOWN)

    _keep_with(visitors, portrait)

    def move(portrait: str | None, picture: Any, mirror: bool, request: gr.Request) -> Any:
        shown = said_here(visitors, lambda: visitors.of(request.session_hash).live(portrait, picture, mirror))
        return None if shown is None else str(shown)

    camera.stream(
        move, [portrait, camera, mirror], shown, stream_every=_FASTEST, concurrency_limit=1, show_progress="hidden"
    )


def _check_tab(visitors: Visitors) -> None:
    given = gr.File(label="Pictures and videos", file_count="multiple", type="filepath", elem_id="check-files")
    go = gr.Button("Check", variant="primary", elem_id="check")
    words = gr.Textbox(label="What reenact check says", interactive=False, lines=12, elem_id="check-said")
    picture = gr.Image(label="What it saw", elem_id="check-seen", **SHOWN)

    def look(given: list[str] | None, request: gr.Request) -> tuple[str, str | None]:
        return said_here(visitors, lambda: visitors.of(request.session_hash).look_at(given))

    go.click(look, given, [words, picture])
    _keep_with(visitors, given)


def _verify_tab(visitors: Visitors) -> None:
    given = gr.File(label="Videos and pictures", file_count="multiple", type="filepath", elem_id="verify-files")
    go = gr.Button("Verify", variant="primary", elem_id="verify")
    words = gr.Textbox(label="What reenact verify says", interactive=False, lines=10, elem_id="verify-said")

    def look(given: list[str] | None, request: gr.Request) -> str:
        return said_here(visitors, lambda: visitors.of(request.session_hash).look_for_marks(given))

    go.click(look, given, words)
    given.change(lambda: "", None, words)
    _keep_with(visitors, given)
