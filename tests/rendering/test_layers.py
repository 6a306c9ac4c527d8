"""A portrait as person and ground: unmoved it is itself; what the head leaves free is no head."""

import cv2
import numpy as np

from fewshot_reenact.inputs.portrait import Portrait
from fewshot_reenact.motion.heads import lift
from fewshot_reenact.rendering import layers as layers_of
from fewshot_reenact.rendering.layers import Layers, cut_out, paint_ground, show_other_side
from fewshot_reenact.rendering.rim import gaps_of, smoothed
from painted_clips import face_points, paint_face

SIZE = 160


def scene() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A red head before a green and blue ground, its matte and its points."""
    points = face_points(SIZE, scale=0.12)
    y, x = np.mgrid[:SIZE, :SIZE].astype(np.float32)
    top, chin, unit = points[:, 1].min(), points[8, 1], np.ptp(points[[36, 45], 0])
    middle, high = (top - 0.6 * unit + chin + 0.3 * unit) / 2, (chin - top + 0.9 * unit) / 2
    away = np.hypot((x - points[:, 0].mean()) / (0.8 * high), (y - middle) / high)
    matte = np.clip((1 - away) * 12 + 0.5, 0, 1).astype(np.float32)
    ground = np.stack([np.full_like(x, 20), 90 + 60 * x / SIZE, 200 - 60 * y / SIZE], -1)
    picture = matte[..., None] * np.array([220, 60, 50]) + (1 - matte[..., None]) * ground
    return np.round(picture).astype(np.uint8), matte, points


def here() -> np.ndarray:
    y, x = np.mgrid[:SIZE, :SIZE]
    return np.stack([x, y], -1).astype(np.float32)


def test_unmoved_it_is_the_picture_again():
    picture, matte, points = scene()
    layers = Layers.of(picture, matte, lift(points))
    made = layers.seen(here(), np.ones((SIZE, SIZE), np.float32), (0, 0))[0]
    apart = np.abs(made.astype(int) - picture).max(2)
    assert apart.mean() < 0.5 and np.quantile(apart, 0.99) <= 6 and apart.max() < 40, "a trace of it at the rim"


def test_the_ground_has_no_head_and_is_itself_elsewhere():
    picture, matte, points = scene()
    ground = paint_ground(picture, matte, lift(points)).astype(int)
    assert ground[matte > 0.5][:, 0].max() < 60, "no red is left"
    assert (ground[matte < 0.01].reshape(-1, 3) == picture[matte < 0.01].reshape(-1, 3)).mean() > 0.8
    smooth = np.abs(
        ground
        - np.stack([np.full((SIZE, SIZE), 20), 90 + 60 * here()[..., 0] / SIZE, 200 - 60 * here()[..., 1] / SIZE], -1)
    )
    assert smooth.mean() < 4 and smooth.max() < 50


def test_a_head_that_moves_leaves_the_ground_behind():
    picture, matte, points = scene()
    layers = Layers.of(picture, matte, lift(points))
    made = layers.seen(here() - np.float32([60, 0]), np.ones((SIZE, SIZE), np.float32), (0, 0))[0].astype(int)
    x, y = points.mean(0).astype(int)
    left = (slice(y - 5, y + 5), slice(x - 25, x - 15))
    assert picture[left][..., 0].min() > 180 and made[left][..., 0].max() < 60


def test_where_nothing_is_known_there_is_ground():
    picture, matte, points = scene()
    layers = Layers.of(picture, matte, lift(points))
    made = layers.seen(here(), np.zeros((SIZE, SIZE), np.float32), (0, 0))[0]
    assert np.abs(made.astype(int) - layers.ground).max() <= 1


def test_without_a_matte_all_of_it_moves():
    picture, _, points = scene()
    layers = Layers.of(picture, None, lift(points))
    assert np.array_equal(layers.seen(here(), np.ones((SIZE, SIZE), np.float32), (0, 0))[0], picture)


def test_the_other_side_is_drawn_where_it_has_a_share():
    picture = paint_face(face_points(SIZE), SIZE, 0)
    made, share = picture.copy(), np.zeros((20, 20), np.float32)
    share[8:12, 4:8] = 1
    offset = np.zeros((20, 20, 2), np.float32)
    offset[..., 0] = 30
    tone = np.full((32, 32, 3), 5, np.float32)
    own = np.dstack([picture, np.full((SIZE, SIZE), 255, np.uint8)])
    frame = np.array([[5.0, 0, 0], [0, 5.0, 0]])
    person = np.zeros((SIZE, SIZE), np.float32)
    show_other_side(made, own, (0, 0, SIZE, SIZE), offset, share, tone, frame, person)
    x, y = 46, 82
    assert np.abs(made[y, x].astype(int) - np.clip(picture[y, x + 30].astype(int) + 5, 0, 255)).max() <= 1
    assert np.array_equal(made[:50], picture[:50]) and np.array_equal(made[:, 90:], picture[:, 90:])
    assert person[y, x] == 1 and person[:50].max() == 0, "what is drawn is the person, for what is painted onto it"
    nobody, person[:] = picture.copy(), 0
    show_other_side(nobody, np.zeros_like(own), (0, 0, SIZE, SIZE), offset, share, tone, frame, person)
    assert person.max() == 0 and np.array_equal(nobody, picture), "the other side's ground is not drawn"


def test_another_ground_is_all_behind_the_person():
    picture, matte, points = scene()
    behind = np.full_like(picture, 7)
    layers = Layers.of(picture, matte, lift(points), behind)
    whole = layers.whole()
    assert (whole[matte == 0] == 7).all()
    inside = cv2.erode(matte, np.ones((5, 5))) == 1
    assert np.abs(whole[inside].astype(int) - picture[inside]).max() <= 1
    assert whole[(matte > 0.2) & (matte < 0.8)][:, 2].max() < 160, "and none of the old ground shines through"


def test_a_matte_that_is_too_wide_carries_no_halo():
    """A rim of the old ground is not drawn over another one."""
    picture, matte, points = scene()
    wide = cv2.dilate(matte, np.ones((5, 5)))
    rim = (wide > 0.9) & (matte < 0.1)
    made = Layers.of(picture, wide, lift(points), np.zeros_like(picture)).whole().astype(int)
    assert rim.sum() > 50 and picture[rim].sum(1).mean() > 250
    assert made[rim].sum(1).mean() < 0.4 * picture[rim].sum(1).mean(), "the old ground would shine there"
    inside = cv2.erode(matte, np.ones((9, 9))) == 1
    assert np.abs(made[inside] - picture[inside]).max() <= 2, "the person stays"


def test_what_a_matte_leaves_out_in_its_midst_is_the_persons_unless_it_is_ground():
    """An earring between neck and hair, with the ground about it."""
    picture, matte, points = scene()
    x, y = (int(v) for v in points[[2, 3]].mean(0))
    gap, earring = (slice(y - 8, y + 8), slice(x - 6, x + 6)), (slice(y - 3, y + 3), slice(x - 2, x + 3))
    about = here()[gap]
    picture[gap] = np.stack(
        [np.full_like(about[..., 0], 20), 90 + 60 * about[..., 0] / SIZE, 200 - 60 * about[..., 1] / SIZE], -1
    )
    picture[earring] = (250, 230, 40)
    matte[gap] = 0
    layers = Layers.of(picture, matte, lift(points))
    share = layers.person[..., 3] / 255
    assert share[earring].mean() > 0.9
    ring = np.zeros(matte.shape, bool)
    ring[y - 7 : y + 7, x - 5 : x + 5], ring[y - 5 : y + 5, x - 4 : x + 5] = True, False
    assert share[ring].max() < 0.1, "between it and the hair there is ground"
    assert np.abs(layers.ground[earring].astype(int) - (250, 230, 40)).sum(-1).min() > 200
    outside = matte.copy()
    outside[:, : x + 6] = 0  # not surrounded: it may be anything
    assert not gaps_of(outside, float(lift(points).pose.scale)).any()


def test_a_wide_blur_of_fewer_pixels_is_the_same():
    values = np.random.default_rng(0).random((300, 420, 4)).astype(np.float32)
    values = cv2.GaussianBlur(values, (0, 0), 3)
    whole = cv2.GaussianBlur(values, (0, 0), 30)
    assert np.abs(smoothed(values, 30) - whole).max() < 0.05 * np.ptp(values)
    assert np.ptp(whole) > 0.05 * np.ptp(values), "or any flat picture would do"


def test_layers_begun_beside_are_those_of_the_portrait():
    picture, matte, points = scene()
    made = layers_of.begin_layers(Portrait(picture, points, matte)).result()
    own = Layers.of(picture, matte, lift(points))
    assert (made.person == own.person).all() and (made.ground == own.ground).all()


def test_cut_out_colours_are_the_persons_alone():
    """Straight alpha: at soft edges colours have nothing of the ground, so over any other there is no seam."""
    _, matte, _ = scene()
    ground = np.full((SIZE, SIZE, 3), 128, np.uint8)
    red = np.array([220, 60, 50])
    over = np.round(matte[..., None] * red + (1 - matte[..., None]) * ground).astype(np.uint8)
    made = cut_out(over, matte, ground)
    assert made.shape == (SIZE, SIZE, 4) and np.abs(made[..., 3] / 255 - matte).max() < 0.003
    soft = (matte > 0.05) & (matte < 0.95)
    assert soft.sum() > 100 and np.abs(made[soft][:, :3].astype(int) - red).max() <= 8
    beside = (matte == 0) & (cv2.dilate(matte, np.ones((5, 5))) > 0.5)
    assert np.abs(made[beside][:, :3].astype(int) - red).mean() < 12, "they go on beyond the edge"
    assert (made[:10, :10] == [128, 128, 128, 0]).all()
