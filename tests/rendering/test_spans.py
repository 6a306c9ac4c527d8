"""Where a person may be seen: leaving out the rest changes no pixel."""

import numpy as np
import pytest

from fewshot_reenact.models.feather import feather
from fewshot_reenact.rendering.head_flow import HeadFlow
from fewshot_reenact.rendering.layers import Layers
from fewshot_reenact.rendering.spans import Spans

WIDTH, HEIGHT, PLACES, SIDE = 240, 200, 25, 64
BOXES = {"whole picture": (0, 0, WIDTH, HEIGHT), "inside": (21, 13, 222, 187), "at a corner": (60, 40, WIDTH, HEIGHT)}


def layers(times: int = 1) -> Layers:
    """An ellipse of noise, soft at its rim, before noise."""
    random, (h, w) = np.random.default_rng(0), (HEIGHT * times, WIDTH * times)
    y, x = np.mgrid[:h, :w] / times
    share = np.clip((1 - np.hypot((x - 120) / 60, (y - 100) / 70)) * 15 + 0.5, 0, 1)[..., None]
    person = np.concatenate([random.uniform(0, 255, (h, w, 3)) * share, 255 * share], -1)
    return Layers(np.round(person).astype(np.uint8), random.integers(0, 256, (h, w, 3), np.uint8))


def offsets(kind: str) -> np.ndarray:
    """What a grid's places come from, less their own."""
    y, x = np.mgrid[:PLACES, :PLACES] / (PLACES - 1)
    if kind == "none":
        return np.zeros((PLACES, PLACES, 2), np.float32)
    if kind == "far":  # to the right and down, so that what is left free is ground
        return np.stack([np.full_like(x, -45), np.full_like(x, -30)], -1).astype(np.float32)
    if kind == "turned":
        return np.stack([25 * np.sin(5 * y), 20 * np.cos(4 * x)], -1).astype(np.float32)
    leaps = np.where(x > 0.6 + 0.05 * np.sin(9 * y), 40, -40)  # folds
    return np.stack([leaps, 0 * x], -1).astype(np.float32)


@pytest.mark.parametrize("kind", ["none", "far", "turned", "folded"])
@pytest.mark.parametrize("box", BOXES.values(), ids=BOXES)
@pytest.mark.parametrize("shown", [1.0, 0.3])
def test_a_picture_is_the_same_as_without_spans(kind: str, box: tuple[int, int, int, int], shown: float) -> None:
    """With a face frame that turns and shifts, and places of which the person's picture shows nothing."""
    x0, y0, x1, y1 = box
    own, random = layers(), np.random.default_rng(1)
    offset, covered = offsets(kind), np.ones((PLACES, PLACES), np.float32)
    covered[:6] = shown
    frame = np.array([[1.2, 0.2, 70.0], [-0.2, 1.2, 60.0]])
    face_flow = (np.mgrid[:SIDE, :SIDE][::-1].transpose(1, 2, 0) @ frame[:, :2].T + frame[:, 2] - 6).astype(np.float32)
    shift = random.uniform(-3, 3, (SIDE, SIDE, 2)).astype(np.float32) * feather(SIDE, SIDE)[0, 0].numpy()[..., None]
    wide = np.repeat(np.repeat(covered, 10, 0), 10, 1)[: y1 - y0, : x1 - x0]
    wide = np.pad(wide, ((0, y1 - y0 - wide.shape[0]), (0, x1 - x0 - wide.shape[1])), constant_values=1)

    flow = HeadFlow(box, (WIDTH, HEIGHT), feather(SIDE, SIDE)[0, 0].numpy())
    every, share = own.seen(flow.full(frame, face_flow, offset, shift), wide, (x0, y0))
    flow._room[:] = np.nan  # what no span covers may hold anything
    spans = Spans(own.person[..., 3], box).of(offset, covered, flow.face(frame), 16.0)
    onto = np.full_like(every, 7)
    some, part = own.seen(flow.full(frame, face_flow, offset, shift, spans), wide, (x0, y0), spans, onto)
    assert some is onto
    assert np.abs(some.astype(int) - every).max() <= 1 and (some != every).mean() < 1e-3
    assert np.abs(part - share).max() < 1e-2


def test_what_is_no_person_is_left_out_and_a_clear_inside_needs_no_mixing() -> None:
    own, places = layers(times=3), 70
    h, w = own.ground.shape[:2]
    nothing = np.zeros((places, places, 2), np.float32)
    spans = Spans(own.person[..., 3], (0, 0, w, h)).of(nothing, np.ones((places, places), np.float32), (0, 0, 0, 0))
    covers, solid = np.zeros((h, w), int), np.zeros((h, w), bool)
    for span in spans:
        covers[span.part] += 1
        solid[span.part] |= span.solid
    alpha = own.person[..., 3]
    assert covers.max() == 1, "no two overlap"
    assert covers[alpha > 0].all() and (covers > 0).mean() < 0.5
    assert (alpha[solid] == 255).all() and solid.mean() > 0.1


def test_a_picture_without_a_matte_is_all_person() -> None:
    person = np.full((HEIGHT, WIDTH), 255, np.uint8)
    spans = Spans(person, BOXES["inside"]).of(offsets("turned"), np.ones((PLACES, PLACES), np.float32), (0, 0, 0, 0))
    assert all(span.solid for span in spans if span.columns.stop - span.columns.start > 40)
    x0, y0, x1, y1 = BOXES["inside"]
    assert sum(np.ones((y1 - y0, x1 - x0))[span.part].sum() for span in spans) == (x1 - x0) * (y1 - y0)
