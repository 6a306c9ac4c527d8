"""Mattes and grounds that the user gives."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fewshot_reenact.errors import InputError, UsageError
from fewshot_reenact.inputs.grounds import Ground, with_mask
from fewshot_reenact.inputs.portrait import Portrait, crop_portrait
from painted_clips import face_points, paint_face

SIZE = 120


def portrait() -> Portrait:
    points = face_points(SIZE)
    return Portrait(paint_face(points, SIZE, 0), points)


def mask(path: Path, size: tuple[int, int] = (SIZE, SIZE), alpha: bool = False, empty: bool = False) -> Path:
    """White within a box about the face, black around."""
    values = np.zeros((size[1], size[0]), np.uint8)
    if not empty:
        values[: int(0.9 * size[1]), size[0] // 4 : 3 * size[0] // 4] = 255
    if alpha:
        Image.fromarray(np.dstack([np.full((*values.shape, 3), 90, np.uint8), values]), "RGBA").save(path)
    else:
        Image.fromarray(values).save(path)
    return path


@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("size", [(SIZE, SIZE), (3 * SIZE, 3 * SIZE), (40, 40)])
def test_a_mask_of_any_size_and_kind(tmp_path, alpha, size):
    made = with_mask(portrait(), mask(tmp_path / "m.png", size, alpha))
    assert made.matte is not None and made.matte.shape == (SIZE, SIZE) and made.matte.dtype == np.float32
    assert made.matte[40, 60] == 1 and made.matte[40, 5] == 0


def test_masks_that_do_not_fit(tmp_path):
    with pytest.raises(InputError, match="200 x 120 pixels, the portrait 120 x 120"):
        with_mask(portrait(), mask(tmp_path / "wide.png", (200, 120)))
    with pytest.raises(InputError, match="leaves out the face"):
        with_mask(portrait(), mask(tmp_path / "empty.png", empty=True))
    with pytest.raises(InputError, match="no such file"):
        with_mask(portrait(), tmp_path / "none.png")


def test_colours_and_pictures_fill_the_portrait(tmp_path):
    assert (Ground.parse("#1e90ff").of((20, 30)) == [30, 144, 255]).all()
    assert Ground.parse("white").of((20, 30)).shape == (20, 30, 3) and not Ground.parse("white").files
    y, x = np.mgrid[:50, :100]
    Image.fromarray(np.dstack([x * 2, y * 4, y * 0]).astype(np.uint8)).save(tmp_path / "g.png")
    made = Ground.parse(str(tmp_path / "g.png"))
    square = made.of((80, 80))
    assert square.shape == (80, 80, 3) and made.files == (tmp_path / "g.png",)
    assert abs(int(square[40, 0, 0]) - 50) < 8 and abs(int(square[40, -1, 0]) - 150) < 8, (
        "from the middle, not squeezed"
    )
    clear = Ground.parse("Transparent")
    assert clear.transparent and not clear.files and not Ground.parse("#1e90ffff").transparent
    for wrong in ("#1e90ff80", "#0000", "rgba(1, 2, 3, 0)"):
        with pytest.raises(UsageError, match=r"opaque.* or say 'transparent'"):
            Ground.parse(wrong)
    for wrong, error in (("purplish", UsageError), (str(tmp_path / "none.png"), InputError)):
        with pytest.raises(error):
            Ground.parse(wrong)


def test_a_crop_takes_both_along(tmp_path):
    one = with_mask(portrait(), mask(tmp_path / "m.png"))
    one = Portrait(one.picture, one.points, one.matte, Ground.parse("red").of((SIZE, SIZE)))
    made = crop_portrait(one, 256)
    assert made.matte is not None and made.matte.shape == (256, 256) and made.ground is not None
    assert made.ground.shape == (256, 256, 3) and set(np.unique(np.round(made.matte, 1))) >= {0, 1}
