"""Training runs to be looked at: charts of their numbers and their sample grids, as a page or as one picture."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fewshot_reenact.evaluation.charts import WIDE, Line, chart_picture, chart_svg

_COLUMNS, _GAP, _HEAD = 3, 12, 26
_WIDEST = 1280  # pixels of a sample grid on a page
_TALLEST = 900  # and in a picture
_STYLE = """
:root { color-scheme: light dark; font: 15px/1.45 system-ui, sans-serif; }
body { max-width: 90rem; margin: 0 auto; padding: 1rem; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(20rem, 1fr)); gap: 1rem; }
figure { margin: 0 0 1.5rem; }
figure img { max-width: 100%; }
"""


@dataclass(frozen=True)
class RunView:
    """What is shown. heading: one line. notes: more of them. charts: (title, its lines). samples: (caption, sample grid
    (H, W, 3) uint8 RGB).
    """

    heading: str
    notes: Sequence[str]
    charts: Sequence[tuple[str, Sequence[Line]]]
    samples: Sequence[tuple[str, np.ndarray]]


def run_page(view: RunView, label: Callable[[np.ndarray], np.ndarray], made_by: str) -> str:
    """One page of HTML that needs nothing else. label: puts the marks into a sample grid. made_by: for its head."""
    parts = [
        '<!doctype html><html lang="en"><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f'<meta name="generator" content="{html.escape(made_by)}">',
        f"<title>{html.escape(view.heading)}</title><style>{_STYLE}</style><h1>{html.escape(view.heading)}</h1>",
        *(f"<p>{html.escape(note)}</p>" for note in view.notes),
        '<div class="charts">',
        *(chart_svg(title, lines) for title, lines in view.charts),
        "</div>",
    ]
    if view.samples:
        parts.append("<h2>Samples</h2><p>These pictures are AI-generated but for portraits and true frames.</p>")
        parts += [_figure(caption, label(_at_most(grid, _WIDEST, 4 * _WIDEST))) for caption, grid in view.samples]
    return "\n".join(parts) + "\n"


def run_sheet(view: RunView) -> np.ndarray:
    """The same as one picture, (H, W, 3) uint8 RGB on white: charts, three a row, then the samples."""
    cells = [chart_picture(title, lines) for title, lines in view.charts]
    tiles = [_captioned(caption, _at_most(grid, WIDE, _TALLEST)) for caption, grid in view.samples]
    head = np.full((_HEAD + 18 * len(view.notes), _COLUMNS * (WIDE + _GAP) + _GAP, 3), 255, np.uint8)
    image = Image.fromarray(head)
    pen = ImageDraw.Draw(image)
    pen.text((_GAP, 18), view.heading, "#202020", ImageFont.load_default(15), "ls")
    for number, note in enumerate(view.notes):
        pen.text((_GAP, 38 + 18 * number), note, "#606060", ImageFont.load_default(11), "ls")
    rows = [_row(some[at : at + _COLUMNS]) for some in (cells, tiles) for at in range(0, len(some), _COLUMNS)]
    return np.concatenate([np.array(image), *rows])


def _row(cells: Sequence[np.ndarray]) -> np.ndarray:
    high = max(cell.shape[0] for cell in cells)
    row = np.full((high + _GAP, _COLUMNS * (WIDE + _GAP) + _GAP, 3), 255, np.uint8)
    for number, cell in enumerate(cells):
        left = _GAP + number * (WIDE + _GAP)
        row[: cell.shape[0], left : left + cell.shape[1]] = cell
    return row


def _captioned(caption: str, picture: np.ndarray) -> np.ndarray:
    tile = Image.fromarray(np.full((picture.shape[0] + 20, WIDE, 3), 255, np.uint8))
    ImageDraw.Draw(tile).text((0, 14), caption[:70], "#606060", ImageFont.load_default(11), "ls")
    result = np.array(tile)
    result[20:, : picture.shape[1]] = picture
    return result


def _at_most(picture: np.ndarray, wide: int, high: int) -> np.ndarray:
    scale = min(1.0, wide / picture.shape[1], high / picture.shape[0])
    size = (max(1, int(picture.shape[1] * scale)), max(1, int(picture.shape[0] * scale)))
    return picture if scale == 1 else cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def _figure(caption: str, picture: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=88)
    data = base64.b64encode(file.getvalue()).decode()
    name = html.escape(caption)
    return f'<figure><img alt="{name}" src="data:image/jpeg;base64,{data}"><figcaption>{name}</figcaption></figure>'
