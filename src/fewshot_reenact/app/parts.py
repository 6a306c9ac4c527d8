"""What the page's parts share."""

from collections.abc import Callable
from typing import Any

import gradio as gr

from fewshot_reenact.app.visitors import Visitors
from fewshot_reenact.errors import ReenactError

SHOWN: Any = {"interactive": False, "buttons": ["download", "fullscreen"]}  # and none that sends it somewhere


def said_here(visitors: Visitors, work: Callable[[], Any]) -> Any:
    """What `work` gives; what is wrong with the input is said on the page in its own words, without folders' names."""
    try:
        return work()
    except ReenactError as error:
        raise gr.Error(visitors.nameless(str(error)), print_exception=False) from error
