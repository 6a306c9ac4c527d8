"""The page served: to this machine alone, or with a password to others; nothing of it is left when it ends."""

import os
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from fewshot_reenact.app.guards import guard, is_here
from fewshot_reenact.app.terms import Limits, Offer
from fewshot_reenact.app.visitors import Visitors
from fewshot_reenact.errors import MissingExtra, UsageError
from fewshot_reenact.files import held_folder

_PREFIX = "reenact-ui-"  # of the temporary folder
_PUT_IN = "put-in"  # in there: what visitors put in and what is made for them
_IN_USE = "another page has this folder"
_JUST_MADE = 60.0  # seconds, in which a page that starts comes to hold its folder


def serve(
    host: str,
    port: int,
    open_browser: bool,
    *,
    texts: Mapping[str, str] | None = None,
    limits: Limits | None = None,
    offer: Offer | None = None,
    auth: tuple[str, str] | None = None,
    say: Callable[[str], None] = print,
) -> None:
    """Serve the page until Ctrl-C; `say` is told the address.

    texts: help of each option. offer: what visitors choose from. auth: name and password that are asked for. Raises
    UsageError: no gradio, the port is taken, an address that others reach without `auth`; what Offer.check raises.
    """
    if not is_here(host) and auth is None:
        raise UsageError(
            f"--host {host}: others reach it, and would see what everybody makes; add --auth NAME, and the password "
            "is asked for (or taken from REENACT_UI_PASSWORD)"
        )
    limits = limits or Limits()
    offer = replace(offer or Offer(), local=is_here(host))
    for line in offer.check():
        say(line)
    _check_port(host, port)
    remove_leftovers()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=_PREFIX)))
        stack.enter_context(held_folder(folder, _IN_USE))
        gr = _gradio(folder)
        from fewshot_reenact.app.comparison import head
        from fewshot_reenact.app.page import make_page

        # Within what the page may serve, so that gradio copies nothing that a visitor would leave behind.
        visitors = Visitors(folder / _PUT_IN, limits, offer)
        stack.callback(visitors.close)
        page = make_page(visitors, texts or {})
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
                head=head(),
                quiet=True,
                prevent_thread_lock=True,
                max_file_size=f"{limits.upload_mb}mb",
                auth=auth,
                strict_cors=True,
                app_kwargs={"middleware": guard(host)},
            )
        except OSError as error:
            raise _taken(host, port) from error
        say(f"http://{f'[{host}]' if ':' in host else host}:{port}  (Ctrl-C ends it)")
        page.block_thread()


def _gradio(folder: Path) -> Any:
    """The package, told what it must know before it is imported. Raises MissingExtra."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # it would tell its makers of each start
    os.environ["GRADIO_TEMP_DIR"] = str(folder / _PUT_IN)
    try:
        import gradio
    except ImportError as error:
        raise MissingExtra("gradio is needed", "ui") from error
    return gradio


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
