"""`reenact ui`: options only; the page is in `fewshot_reenact.app`."""

import os
import sys
from pathlib import Path

import click

from fewshot_reenact.cli.animate_options import sign_cert_option, sign_key_option, watermark_key_option
from fewshot_reenact.cli.common import FILE, MODEL, accept_use_option, agree_to_rules, threads_option
from fewshot_reenact.errors import UsageError

PASSWORD = "REENACT_UI_PASSWORD"


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to serve on; any other needs --auth.")
@click.option("--port", type=click.IntRange(1, 65535), default=7860, show_default=True, help="Port to serve on.")
@click.option(
    "--auth",
    metavar="NAME",
    help=f"Ask for this name and a password, which is asked for here or taken from {PASSWORD}.",
)
@click.option(
    "--max-upload", type=click.IntRange(1, 100_000), default=2000, show_default=True, metavar="MB", help="Of one file."
)
@click.option(
    "--max-seconds",
    type=click.FloatRange(0, min_open=True),
    default=600.0,
    show_default=True,
    metavar="SECONDS",
    help="Of a video.",
)
@click.option("--open", "open_browser", is_flag=True, help="Open the page in the browser.")
@click.option(
    "--model",
    "models",
    multiple=True,
    type=FILE,
    metavar=MODEL,
    help="Weights (safetensors) from which visitors may choose besides the built-in model; may be given again.",
)
@sign_cert_option
@sign_key_option
@watermark_key_option
@threads_option
@accept_use_option
def ui(
    host: str,
    port: int,
    auth: str | None,
    max_upload: int,
    max_seconds: float,
    open_browser: bool,
    models: tuple[Path, ...],
    sign_cert: Path | None,
    sign_key: Path | None,
    watermark_key: Path | None,
    accept_use: bool,
) -> None:
    """Serve a page in the browser for animate, live, check and verify, from this machine to this machine. Ctrl-C ends
    it.

    \b
    reenact ui --open
    reenact ui --host 192.168.1.5 --auth studio --max-seconds 60

    Needs the extra ui; where it is missing, the command that adds it is said. What is put into the page and what is
    made lies in a temporary folder until that page is closed.
    """
    agree_to_rules(accept_use)
    from fewshot_reenact.app.serving import serve
    from fewshot_reenact.app.terms import Limits, Offer, named_models

    limits = Limits(upload_mb=max_upload, seconds=max_seconds)
    offer = Offer(
        models=named_models([str(model) for model in models]),
        sign_cert=sign_cert,
        sign_key=sign_key,
        watermark_key=watermark_key,
    )
    password = None if auth is None else (auth, _password(auth))
    serve(host, port, open_browser, texts=option_help(), limits=limits, offer=offer, auth=password)


def option_help() -> dict[str, str]:
    """Help of each option of `reenact animate`, by its name in AnimateOptions."""
    from fewshot_reenact.cli.animate import animate

    options = [param for param in animate.params if isinstance(param, click.Option)]
    found = {param.name or "": " ".join((param.help or "").split()) for param in options}
    # One part of the page is two options there.
    return {**found, "label": f"{found['label']} {found['no_label']}"}


def _password(name: str) -> str:
    """From the environment or a prompt. Raises UsageError: it is empty, or nobody can be asked."""
    said = os.environ.get(PASSWORD)
    if said is None:
        if sys.stdin is None or not sys.stdin.isatty():
            raise UsageError(f"there is no terminal to ask for the password of {name}; set {PASSWORD}")
        said = click.prompt(f"Password for {name}", hide_input=True, confirmation_prompt=True, err=True)
    if not said:
        raise UsageError(f"{PASSWORD} is empty; give a password for {name}")
    return str(said)
