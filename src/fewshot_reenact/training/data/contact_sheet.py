"""The summary picture: some clips' middle frames with their points, to see at a glance whether preparing went well."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from fewshot_reenact.geometry.overlay import draw_points
from fewshot_reenact.training.data.codec import ClipFrames
from fewshot_reenact.training.data.shards import read_clip, read_json
from fewshot_reenact.training.data.storage import Folder

_COLUMNS, _ROWS, _SIDE = 6, 4, 224


def contact_sheet(folder: Folder, files: list[dict[str, Any]]) -> bytes:
    """JPEG of up to 24 clips, evenly among the shards in `files` (of index.json), with the names of the people."""
    ends = np.cumsum([file["clips"] for file in files])
    chosen = np.linspace(0, ends[-1] - 1, min(ends[-1], _COLUMNS * _ROWS)).round().astype(int)
    tiles = []
    for number in chosen.tolist():
        at = int(np.searchsorted(ends, number, side="right"))
        tiles.append(_tile(folder, files[at]["shard"], number - int(ends[at]) + files[at]["clips"]))
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % _COLUMNS)
    rows = [np.hstack(tiles[i : i + _COLUMNS]) for i in range(0, len(tiles), _COLUMNS)]
    return cv2.imencode(".jpg", np.vstack(rows)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])[1].tobytes()


def _tile(folder: Folder, shard: str, number: int) -> np.ndarray:
    row = read_json(folder, str(Path(shard).with_suffix(".json")))["clips"][number]
    clip = read_clip(folder, shard, row["offset"], row["length"])
    middle = len(clip.points) // 2
    picture = draw_points(ClipFrames(clip.film, len(clip.points), 1, clip.key)[middle], clip.points[middle])
    tile = cv2.resize(picture, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    for colour, width in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        cv2.putText(tile, clip.person[:26], (4, _SIDE - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.42, colour, width, cv2.LINE_AA)
    return tile
