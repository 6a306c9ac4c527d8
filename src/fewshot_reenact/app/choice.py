"""A face chosen by a click on a picture of all of them.

No annotations from the future here: gradio reads the types of the functions it is given.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from fewshot_reenact.app.faces import face_at
from fewshot_reenact.app.parts import SHOWN
from fewshot_reenact.app.visitors import Visitors
from fewshot_reenact.landmarks.selection import LARGEST


@dataclass(frozen=True)
class _Offered:
    """asked: what the picture was made of. boxes: of the faces in it. clicked: the number that was, "" for none."""

    asked: Any = (None, None, False)
    boxes: tuple[tuple[int, int, int, int], ...] = ()
    clicked: str = ""


class Chooser:
    """The picture, shown where there are several faces. name: of the component."""

    def __init__(self, visitors: Visitors, label: str, name: str) -> None:
        self._visitors, self._name = visitors, name
        self._picture = gr.Image(label=label, visible=False, elem_id=name, **SHOWN)
        self._offered = gr.State(_Offered())

    def chooses(
        self,
        field: Any,
        asked: Sequence[Any],
        read: Callable[..., tuple[str | None, float | None, bool]],
        more: Sequence[Any] = (),
    ) -> None:
        """A click writes the face's number into `field`. asked: components that say what to show, which `read` turns
        into file, start and mirrored; with each change of a file it is shown anew. more: further events at which it is.
        """

        def offer(request: gr.Request, before: _Offered, number: str, *values: Any) -> tuple[Any, _Offered, Any]:
            wanted = read(*values)
            if wanted == before.asked:
                return gr.skip(), before, gr.skip()
            file, start, mirror = wanted
            found = self._visitors.several_faces(file, start=start, mirror=mirror)
            shown, boxes = None, []
            if found is not None:
                shown, boxes = str(self._visitors.of(request.session_hash).show(found[0], self._name)), found[1]
            # A number that was clicked in another picture is somebody else's in this one.
            stays = gr.skip() if not before.clicked or number != before.clicked else LARGEST
            return gr.update(value=shown, visible=shown is not None), _Offered(wanted, tuple(boxes)), stays

        def pick(now: _Offered, event: gr.SelectData) -> tuple[_Offered, Any]:
            number = face_at(list(now.boxes), *event.index)
            if number is None:
                return now, gr.skip()
            return _Offered(now.asked, now.boxes, str(number)), str(number)

        files = [part.change for part in asked if isinstance(part, gr.File | gr.Video)]
        gr.on(
            [*files, *more],
            offer,
            [self._offered, field, *asked],
            [self._picture, self._offered, field],
            show_progress="hidden",
        )
        self._picture.select(pick, self._offered, [self._offered, field], show_progress="hidden")
