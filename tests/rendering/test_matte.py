"""The person told from the ground, by the network that is shipped, and refined."""

from dataclasses import replace

import numpy as np
import pytest

import fewshot_reenact.rendering.matte
from fewshot_reenact.errors import ModelError
from fewshot_reenact.inputs.portrait import Portrait
from fewshot_reenact.landmarks.builtin import BuiltinLandmarks
from fewshot_reenact.media.pictures import read_picture
from fewshot_reenact.rendering.guided import guided_filter
from fewshot_reenact.rendering.matte import WEIGHTS_FILE, cut_by_colour, find_matte, with_matte
from painted_clips import face_points
from places import PORTRAITS, ROOT

ASSETS = ROOT / "src" / "fewshot_reenact" / "assets"


@pytest.fixture(scope="module", params=["grace_hopper.jpg", "astronaut.jpg"])
def portrait(request) -> Portrait:
    picture = read_picture(ASSETS / request.param)
    return Portrait(picture, BuiltinLandmarks().detect(picture)[0].points)


def test_the_face_is_in_it_and_the_corners_above_are_not(portrait):
    matte = find_matte(portrait.picture, portrait.points)
    assert matte is not None and matte.shape == portrait.picture.shape[:2] and matte.dtype == np.float32
    assert matte.min() >= 0 and matte.max() <= 1
    x, y = np.round(portrait.points).astype(int).T
    assert matte[y[17:68], x[17:68]].mean() > 0.97
    unit = int(np.ptp(portrait.points[[36, 45], 0]))
    chin = portrait.points[8].astype(int)
    assert matte[min(chin[1] + unit, len(matte) - 1), chin[0]] > 0.8, "the neck is"
    assert 0.1 < (matte > 0.5).mean() < 0.95


def test_it_is_the_same_however_large_the_picture(portrait):
    matte = find_matte(portrait.picture, portrait.points)
    half = find_matte(np.ascontiguousarray(portrait.picture[::2, ::2]), portrait.points / 2)
    assert matte is not None and half is not None
    assert np.abs(matte[::2, ::2][: half.shape[0], : half.shape[1]] - half).mean() < 0.06


def test_an_edge_that_wanders_goes_back_to_where_the_colours_change():
    """A red person before blue and white stripes; the rough matte is 12 pixels too wide, or too narrow, and soft."""
    y, x = np.mgrid[:200, :200]
    person = np.hypot(x - 100, y - 110) < 60
    stripes = np.where((x // 8 % 2 == 0)[..., None], [40, 60, 150], [230, 230, 230])
    noise = np.random.default_rng(0).normal(0, 6, (200, 200, 3))
    picture = np.clip(np.where(person[..., None], [170, 60, 50], stripes) + noise, 0, 255).astype(np.uint8)
    for by in (12, -12):
        rough = np.clip((60 + by - np.hypot(x - 100, y - 110)) / 30 + 0.5, 0, 1).astype(np.float32)
        made = cut_by_colour(picture, rough, 60.0)
        assert ((rough > 0.5) != person).mean() > 0.1
        assert ((made > 0.5) != person).mean() < 0.005
        assert np.array_equal(made, cut_by_colour(picture, rough, 60.0)), "the same again"


def test_a_matte_that_is_nowhere_sure_stays():
    rough = np.full((50, 50), 0.5, np.float32)
    assert cut_by_colour(np.zeros((50, 50, 3), np.uint8), rough, 20.0) is rough


def test_a_portrait_keeps_the_matte_that_it_has(portrait):
    own = np.zeros(portrait.picture.shape[:2], np.float32)
    given = Portrait(portrait.picture, portrait.points, own)
    made, said = with_matte(given)
    assert made is given and not said
    found, said = with_matte(portrait)
    assert found.matte is not None and not said


def test_where_there_is_no_person_it_says_so():
    level = np.linspace(60, 220, 200)[:, None, None] * np.array([0.5, 0.8, 1.0])
    sky = np.broadcast_to(level, (200, 200, 3)).astype(np.uint8)
    made, said = with_matte(Portrait(np.ascontiguousarray(sky), face_points(200)))
    assert made.matte is None and len(said) == 1 and "--matte FILE" in said[0]


def test_more_than_a_head_is_no_matte(portrait, monkeypatch):
    """A second thing beside the head, as another person would be: the network's mask is refused, and it is said."""
    look = fewshot_reenact.rendering.matte._look
    unit, eyes = np.ptp(portrait.points[[36, 45], 0]), portrait.points[[36, 45]].mean(0)

    def with_a_wall(picture, *where):
        mask = look(picture, *where)
        x = np.arange(mask.shape[1])[None]
        beside = np.abs(np.abs(x - eyes[0]) - 2.4 * unit) < 0.4 * unit
        return np.where(beside & (np.arange(len(mask))[:, None] < eyes[1] + unit), 1, mask).astype(np.float32)

    monkeypatch.setattr(fewshot_reenact.rendering.matte, "_look", with_a_wall)
    made, said = with_matte(portrait)
    assert made.matte is None and len(said) == 1 and "cannot be told from the ground" in said[0]


@pytest.mark.parametrize("name", ["klimt_adele", "einstein_1921", "american_gothic_1024"])
@pytest.mark.skipif(not PORTRAITS.is_dir(), reason="the portraits are not here")
def test_mattes_that_were_seen_to_be_wrong_are_refused(name):
    picture = read_picture(PORTRAITS / f"{name}.jpg")
    assert find_matte(picture, BuiltinLandmarks().detect(picture)[0].points) is None


def test_transparency_is_a_matte_where_it_leaves_ground_about_the_head(portrait):
    height, width = portrait.picture.shape[:2]
    y, x = np.mgrid[:height, :width]
    middle, unit = portrait.points.mean(0), np.ptp(portrait.points[[36, 45], 0])
    alpha = (np.hypot(x - middle[0], y - middle[1]) < 1.9 * unit).astype(np.float32)
    made, said = with_matte(replace(portrait, alpha=alpha))
    assert made.matte is alpha and said == ["the portrait's own transparency is its matte; --matte FILE takes another"]
    rounded = np.ones_like(alpha)
    rounded[:8, :8] = 0  # a corner alone says nothing of the person
    made, said = with_matte(replace(portrait, alpha=rounded))
    assert made.matte is not None and made.matte is not rounded and not said
    given = np.full_like(alpha, 0.5)
    made, said = with_matte(replace(portrait, alpha=alpha, matte=given))
    assert made.matte is given and not said, "what was given wins"


def test_missing_weights(portrait, tmp_path):
    with pytest.raises(ModelError):
        find_matte(portrait.picture, portrait.points, tmp_path / "none.safetensors")


def test_the_weights_are_small():
    assert WEIGHTS_FILE.stat().st_size < 400_000


def test_a_mask_takes_the_edge_of_its_picture():
    """A blurred mask is sharp where its picture is, and stays what it is where its picture says nothing."""
    x = np.mgrid[:100, :100][1].astype(np.float32)
    guide = (x > 50).astype(np.float32)
    mask = np.clip((x - 50.5) / 24 + 0.5, 0, 1)
    fine = guided_filter(guide, mask, 6, 1e-4)
    assert mask[50, 51] - mask[50, 50] < 0.1 < 0.25 < fine[50, 51] - fine[50, 50]
    flat = guided_filter(np.full_like(mask, 0.5), mask, 3, 1e-2)
    assert np.abs(flat - mask)[20:-20, 20:-20].max() < 0.05
