"""Portrait and poses to pictures: what stays, what moves, several portraits, order and errors across the thread."""

import threading

import cv2
import numpy as np
import pytest
import torch

from fewshot_reenact.errors import ModelError
from fewshot_reenact.geometry.affine import invert, transform
from fewshot_reenact.geometry.face_frame import face_frame
from fewshot_reenact.geometry.head_crop import head_box
from fewshot_reenact.inputs.portrait import Portrait
from fewshot_reenact.models.feather import feather
from fewshot_reenact.models.reenactor import Reenactor
from fewshot_reenact.motion.heads import HeadMotion
from fewshot_reenact.rendering import paste
from fewshot_reenact.rendering.mixing import nearest
from fewshot_reenact.rendering.paste import cut_face
from fewshot_reenact.rendering.textured import BATCH, TexturedRenderer
from network_samples import model
from painted_clips import face_points, paint_face

SIZE = 160
AT = {"at": (0.5, 0.45), "scale": 0.09}  # small enough that the picture goes on around the box


pytestmark = pytest.mark.usefixtures("one_thread")


def points(**state: float) -> np.ndarray:
    return face_points(SIZE, **{**AT, **state})  # type: ignore[arg-type]


def portrait(seed: int = 0, **state: float) -> Portrait:
    return Portrait(paint_face(points(**state), SIZE, seed), points(**state))


def moving(frames: int = 6) -> np.ndarray:
    return np.stack([points(opened=0.05 * t, angle=0.03 * t, closed=t / frames) for t in range(frames)])


def renderer(
    *portraits: Portrait, net: Reenactor | None = None, motion: np.ndarray | None = None, **more
) -> TexturedRenderer:
    people = list(portraits) or [portrait()]
    poses = np.concatenate([people[0].points[None], moving() if motion is None else motion])
    return TexturedRenderer(net or model(), people, head_box(poses, (SIZE, SIZE)), **more)


def differ(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.abs(a.astype(int) - b.astype(int)).max(-1)


def test_the_portraits_own_points_give_the_portrait():
    one = portrait()
    (out,) = renderer(one).render(one.points[None])
    assert out.shape == one.picture.shape and out.dtype == np.uint8
    assert differ(out, one.picture).max() <= 2


@pytest.mark.parametrize("channel", [0, -2], ids=["colour", "shift"])
def test_networks_that_make_no_numbers_are_an_error(channel):
    one, net = portrait(), model()
    with torch.no_grad():
        net.generator.out.bias[channel] = float("nan")  # as sums of weights that are far too large are
    with pytest.raises(ModelError, match="no number"):
        next(renderer(one, net=net).render(one.points[None]))


def test_what_the_networks_shift_moves_at_full_resolution():
    """A shift of the whole face by some frame pixels: the picture moves by as many, times the frame's scale."""
    one, net = portrait(), model()
    with torch.no_grad():
        net.generator.out.bias[-2] = 1.0
    made = renderer(one, net=net)
    (out,) = made.render(one.points[None])
    frame = made.frames[0]
    away = frame[:, :2] @ np.array([np.tanh(1.0) * 32 / 16, 0])
    want = cv2.warpAffine(
        one.picture,
        np.array([[1, 0, away[0]], [0, 1, away[1]]]),
        (SIZE, SIZE),
        flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
    )
    x, y = one.points[27:36].mean(0).round().astype(int)
    near = (slice(y - 8, y + 9), slice(x - 8, x + 9))
    assert differ(out, want)[near].max() <= 6 < differ(one.picture, want)[near].max()
    # What the networks pasted under their change is the same view.
    (face,) = made._infer(made._prepare(HeadMotion.of(one.points[None], made.lifts[0]), None))
    seen = cut_face(out, frame, 32).astype(float) / 255
    assert np.abs(seen - face.warped)[8:-8, 8:-8].mean() < 0.02


def test_the_portrait_itself_is_left_alone():
    one = portrait()
    before = one.picture.copy()
    list(renderer(one, net=model(trained=True)).render(moving()))
    assert (one.picture == before).all()


@pytest.mark.parametrize("seed", [0, 1])
def test_outside_the_box_nothing_ever_changes(seed):
    """Whatever the poses: also those that the box was not made for."""
    one, net = portrait(), model(trained=True)
    made = renderer(one, net=net)
    x0, y0, x1, y1 = made.box
    outside = np.ones((SIZE, SIZE), bool)
    outside[y0:y1, x0:x1] = False
    assert outside.sum() > 1000
    rng = np.random.default_rng(seed)
    wild = moving() * rng.uniform(0.7, 1.6, (6, 1, 1)) + rng.normal(0, 30, (6, 1, 2)) + rng.normal(0, 2, (6, 83, 2))
    for out in made.render(wild.astype(np.float32)):
        assert (differ(out, one.picture)[outside] == 0).all()
        assert (differ(out, one.picture) > 0).any()


def test_the_face_moves_to_the_drivers_points():
    one = portrait()
    there = points(at=(0.54, 0.43))
    (out,) = renderer(one, motion=there[None], warp_only=True).render(there[None])
    frames = [face_frame(p, 48) for p in (one.points, there)]
    rest, moved, stayed = (
        cut_face(p, f, 48) for p, f in ((one.picture, frames[0]), (out, frames[1]), (out, frames[0]))
    )
    assert differ(moved, rest)[4:-4, 4:-4].mean() < 0.4 * differ(stayed, rest)[4:-4, 4:-4].mean()


def test_untrained_networks_and_the_warp_alone_are_the_same_and_trained_ones_are_not():
    one = portrait()
    warp, untrained, trained = (
        np.stack(list(renderer(one, net=net, warp_only=alone).render(moving())))
        for net, alone in ((model(True), True), (model(), False), (model(True), False))
    )
    assert (warp == untrained).all()
    assert differ(trained, warp).max() > 10


def test_sharpness_is_the_portraits():
    """The flow is applied to the original picture: detail far finer than the networks' frame survives."""
    big = 640
    own = face_points(big, **AT)  # type: ignore[arg-type]
    picture = np.full((big, big, 3), 128, np.uint8)
    picture[::2] = 200  # lines of one pixel; the face frame shows one pixel in nine
    there = own + np.float32([0, 6])
    box = head_box(np.stack([own, there]), (big, big))
    (out,) = TexturedRenderer(model(), [Portrait(picture, own)], box).render(there[None])
    x, y = own[30].astype(int)
    lines = out[y - 20 : y + 20, x - 20 : x + 20, 0].astype(int)
    assert np.abs(np.diff(lines, axis=0)).mean() > 25


@pytest.mark.parametrize("frames", [1, BATCH - 1, BATCH, BATCH + 1, 3 * BATCH + 1])
def test_frames_come_in_order_and_all_of_them(frames):
    motion = moving(frames)
    made = renderer(motion=motion, net=model(trained=True))
    together = list(made.render(motion))
    assert len(together) == frames
    for t in {0, frames // 2, frames - 1}:
        (alone,) = made.render(motion[t : t + 1])
        assert differ(alone, together[t]).max() <= 1
    if frames > BATCH:
        assert differ(together[0], together[-1]).max() > 20
    assert made.seconds["networks"] > 0 and made.seconds["compose"] > 0
    assert list(made.render(motion[:0])) == []


def test_several_portraits():
    """The first one moves; the second shows what the first hides. Same person in other light is matched."""
    first, second = portrait(), Portrait(paint_face(points(opened=0.3), SIZE, 0) // 2 + 60, points(opened=0.3))
    net, motion = model(), np.stack([points(opened=0.1 * t) for t in range(4)])
    both = np.stack(list(renderer(first, second, net=net, motion=motion).render(motion)))
    alone = np.stack(list(renderer(first, net=net, motion=motion).render(motion)))
    assert np.isfinite(both).all() and both.shape == alone.shape
    assert differ(both[0], alone[0]).mean() < differ(both[3], alone[3]).mean(), (
        "nearer to the second's pose, more of it"
    )
    frame = face_frame(points(opened=0.3), 48)
    mouth = (slice(26, 40), slice(14, 34))
    want = cut_face(paint_face(points(opened=0.3), SIZE, 0), frame, 48)[mouth]
    error = [differ(cut_face(out[3], frame, 48)[mouth], want).mean() for out in (both, alone)]
    assert error[0] < error[1], "the opened mouth is the second portrait's"


def test_portraits_take_turns_without_a_jump():
    """On the way from one pose to another past a third; the farther of two fades out before the next fades in."""
    at = torch.linspace(0, 3, 301)
    distance = (at[:, None] - torch.tensor([0.0, 1.0, 2.0, 3.0])).abs() * 2
    chosen, share = nearest(distance)
    share = share / share.sum(1, keepdim=True)
    weights = torch.zeros(301, 4).scatter(1, chosen, share)
    assert (weights.argmax(1)[[0, 100, 200, 300]] == torch.arange(4)).all() and ((weights > 1e-6).sum(1) <= 2).all()
    assert weights.diff(dim=0).abs().max() < 0.05
    assert nearest(distance[:, :2])[1].min() > 0, "of two both count"


def test_each_of_several_portraits_goes_through_the_networks_alone():
    """They know one portrait at a time: what is mixed is what they make, not what they are given."""
    net, motion, seen = model(trained=True), moving(1), []
    people = [portrait(seed, opened=0.1 * seed) for seed in range(3)]
    made = renderer(*people, net=net, motion=motion)
    hook = net.generator.register_forward_hook(lambda module, given, out: seen.append(given[0]))
    list(made.render(motion))
    hook.remove()
    (pictures,) = seen
    assert len(pictures) == 2, "the two nearest"
    sources = made.faces.sources.flatten(1)
    own = [int((one[3:6].flatten() - sources).abs().mean(1).argmin()) for one in pictures]
    assert sorted(own) == [0, 1] and all(
        torch.equal(one[3:6], made.faces.sources[k]) for one, k in zip(pictures, own, strict=True)
    )


def test_portraits_of_other_sizes():
    wide = np.zeros((90, 300, 3), np.uint8)
    own = face_points(90, at=(1.5, 0.45), scale=0.12)
    wide[:] = 120
    outs = list(renderer(portrait(), Portrait(wide, own), net=model(trained=True)).render(moving()))
    assert len(outs) == 6 and all(out.shape == (SIZE, SIZE, 3) for out in outs)
    outs = list(
        TexturedRenderer(model(trained=True), [Portrait(wide, own)], head_box(own[None], (300, 90))).render(own[None])
    )
    assert outs[0].shape == (90, 300, 3)


def test_a_face_at_the_pictures_edge():
    one = portrait(at=(0.02, 0.05))
    motion = np.stack([points(at=(0.02 - 0.02 * t, 0.05)) for t in range(5)])
    outs = list(renderer(one, motion=motion, net=model(trained=True)).render(motion))
    assert len(outs) == 5 and all(out.shape == one.picture.shape for out in outs)


# ---- the thread that works ahead ----


@pytest.mark.parametrize("bad", [0, 1, 2])
def test_an_error_in_the_thread_reaches_the_caller(monkeypatch, bad):
    made, calls, real = renderer(), [], TexturedRenderer._infer

    def fails(self, motion, *rest):
        calls.append(threading.current_thread() is threading.main_thread())
        if len(calls) > bad:
            raise ValueError("no luck")
        return real(self, motion, *rest)

    monkeypatch.setattr(TexturedRenderer, "_infer", fails)
    seen = []
    with pytest.raises(ValueError, match="no luck"):
        for out in made.render(moving(4 * BATCH)):
            seen.append(out)
    assert len(seen) <= bad * BATCH and not any(calls), "the networks work on a thread of their own"


def test_a_caller_that_stops_early_leaves_no_thread():
    before = threading.active_count()
    frames = renderer().render(moving(5 * BATCH))
    next(frames)
    frames.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


@pytest.mark.parametrize(("step", "ahead"), [("_prepare", 3), ("_infer", 2)])
def test_only_a_few_frames_are_ahead(monkeypatch, step, ahead):
    """Memory does not grow with the driver: each step is a few batches ahead, at most, of what was taken."""
    begun, real = [], getattr(TexturedRenderer, step)

    def counts(self, *given):
        begun.append(BATCH)
        return real(self, *given)

    monkeypatch.setattr(TexturedRenderer, step, counts)
    frames = renderer().render(moving(10 * BATCH))
    for taken in range(1, 3 * BATCH):
        next(frames)
        assert sum(begun) <= taken + ahead * BATCH


def test_a_change_pasted_in_bands_leaves_no_seams(monkeypatch):
    drawn, side = np.random.default_rng(3), 200
    picture = drawn.integers(0, 255, (side, side, 3), dtype=np.uint8)
    change = cv2.GaussianBlur(drawn.normal(0, 3, (48, 48, 3)).astype(np.float32), (0, 0), 3)
    warped, edge = drawn.random((48, 48, 3)).astype(np.float32), feather(48, 48)[0, 0].numpy()
    person = np.linspace(0, 2, side, dtype=np.float32).clip(0, 1) * np.ones((side, 1), np.float32)
    made = []
    for pixels in (1, 1 << 30):
        monkeypatch.setattr(paste, "_AT_ONCE", pixels)
        made.append(picture.copy())
        paste.paste_change(made[-1], change, warped, edge, np.array([[3.1, 0.2, 20], [-0.2, 3.1, 30]]), 2.0, person)
    apart = np.abs(made[0].astype(int) - made[1])
    assert apart.max() <= 1 and (apart > 0).mean() < 1e-3 and (made[0] != picture).mean() > 0.2


# ---- the face frame's view ----


@pytest.mark.parametrize("scale", [0.08, 0.2, 0.4])
def test_a_face_is_cut_where_its_frame_says(scale):
    size = 300
    own = face_points(size, scale=scale, angle=0.2)
    frame = face_frame(own, 48)
    picture = np.zeros((size, size, 3), np.uint8)
    for index in (36, 45, 57):
        cv2.circle(
            picture, tuple(int(v) for v in own[index].round()), max(2, round(0.05 * scale * size)), (255,) * 3, -1
        )
    seen = cut_face(cv2.GaussianBlur(picture, (0, 0), 0.04 * scale * size), frame, 48)[..., 0].astype(float)
    for x, y in transform(invert(frame), own[[36, 45, 57]].astype(float)).round().astype(int):
        part = seen[max(0, y - 4) : y + 5, max(0, x - 4) : x + 5]
        top, left = max(0, y - 4), max(0, x - 4)
        rows, columns = np.indices(part.shape)
        assert (
            abs((part * rows).sum() / part.sum() + top - y) < 1
            and abs((part * columns).sum() / part.sum() + left - x) < 1
        )


def test_grey_and_toned_pictures_keep_their_tone_and_coloured_ones_do_not():
    """Networks paint any colour; in a grey picture it must come out grey, in a brown one brown."""
    one, net = portrait(), model(trained=True)
    grey = np.repeat(cv2.cvtColor(one.picture, cv2.COLOR_RGB2GRAY)[..., None], 3, 2)
    brown = np.stack(
        [np.clip(grey[..., 0] * share + more, 0, 255) for share, more in ((0.9, 20), (0.85, 10), (0.8, 0))], -1
    )
    kept = {}
    for name, picture in {"grey": grey, "brown": brown.astype(np.uint8), "coloured": one.picture}.items():
        made = list(renderer(Portrait(picture, one.points), net=net).render(moving()))
        colours = np.stack(made).astype(int)
        assert differ(made[-1], picture).max() > 20  # it did paint
        kept[name] = np.quantile(np.abs(colours[..., 0] - colours[..., 2]), 0.999), made
    assert kept["grey"][0] <= 2
    assert kept["coloured"][0] > 60
    assert kept["brown"][0] <= 0.1 * 255 + 20 + 2
