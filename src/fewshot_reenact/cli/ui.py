"""`reenact ui`: options only; the page is in `fewshot_reenact.app.gradio_page`."""

import click

from fewshot_reenact.cli.common import accept_use_option, agree_to_rules, threads_option, warn


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to serve on.")
@click.option("--port", type=click.IntRange(1, 65535), default=7860, show_default=True, help="Port to serve on.")
@click.option("--open", "open_browser", is_flag=True, help="Open the page in the browser.")
@threads_option
@accept_use_option
def ui(host: str, port: int, open_browser: bool, accept_use: bool) -> None:
    """Serve a page in the browser for `animate`, from this machine to this machine. Ctrl-C ends it.

    Needs the extra ui; where it is missing, the command that adds it is said. What is put into the page lies in a
    temporary folder until the page is closed.
    """
    agree_to_rules(accept_use)
    from fewshot_reenact.app.gradio_page import serve

    if host not in ("127.0.0.1", "localhost", "::1"):
        warn([f"{host}: everybody who reaches this address can use the page, and see what others make"])
    serve(host, port, open_browser)
