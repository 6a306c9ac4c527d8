"""Portraits moved by drivers, for scripts that compare versions by a referee: each renders, then all are scored."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


def _together(*decorators: Decorator) -> Decorator:
    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for one in reversed(decorators):
            command = one(command)
        return command

    return decorate


of_a_version = _together(
    click.argument("out", type=click.Path(path_type=Path)),
    click.option("--name", required=True, help="What this version is called."),
    click.option("--data", required=True, type=_FOLDER),
)
by_a_referee = _together(
    click.argument("out", type=_FOLDER),
    click.option("--referee", required=True, type=_FOLDER),
    click.option("--data", default="../shared/data", type=_FOLDER),
)


def render_pairs(folder: Path, data: Path, portraits: Sequence[str], drivers: Sequence[str]) -> None:
    """FOLDER/PORTRAIT--DRIVER.mp4 of every pair; what is there is kept."""
    folder.mkdir(parents=True, exist_ok=True)
    for portrait in portraits:
        for driver in drivers:
            target = folder / f"{portrait}--{driver}.mp4"
            if not target.exists():
                animate_unmarked(
                    data / "portraits" / f"{portrait}.jpg", data / "clips" / "val" / f"{driver}.mp4", target
                )


def animate_unmarked(portrait: Path, driver: Path, target: Path, **how: Any) -> None:
    """Without marks, for pixels are measured; how: further arguments of `animate`."""
    from fewshot_reenact import animate

    try:
        from fewshot_reenact.media.marks import PlainNote
    except ImportError:  # the packages had other names once
        from fewshot_reenact.video.marking import PlainNote  # type: ignore[import-not-found, no-redef]
    made = animate(portrait, driver, target, audio="none", marks=PlainNote(), **how)
    click.echo(f"{target.parent.name}/{target.name} {made.frames}")
