"""Frames of a video with another expression or pose: what stays to the bit, what moves, edges, gaps, going on."""

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

import cv2
import numpy as np
import pytest

from fewshot_reenact.geometry.topology import LIP_PAIRS
from fewshot_reenact.inputs.portrait import Portrait
from fewshot_reenact.models.reenactor import Reenactor
from fewshot_reenact.motion.motion import Motion
from fewshot_reenact.motion.retarget import Retargeting
from fewshot_reenact.rendering import video_frames
from fewshot_reenact.rendering.closing import with_mouth_closing
from fewshot_reenact.rendering.video_frames import cuts, lookback
from fewshot_reenact.rendering.video_ground import EVERY, with_grounds
from fewshot_reenact.rendering.video_plan import Video, VideoPlan, plan_video
from fewshot_reenact.rendering.video_portrait import VideoRenderer, embed_person
from network_samples import model
from painted_clips import face_points, paint_face

SIZE, FRAMES = 200, 12
NET = model()
TRAINED = model(trained=True)

pytestmark = pytest.mark.usefixtures("one_thread")


def talking(opened: np.ndarray, away: np.ndarray | None = None, closed: np.ndarray | None = None) -> Motion:
    """A face that opens its mouth and goes to the right, share of the side."""
    count = len(opened)
    away = np.zeros(count) if away is None else away
    closed = np.zeros(count) if closed is None else closed
    points = np.stack(
        [
            face_points(SIZE, opened=o, at=(0.45 + a, 0.42), scale=0.12, closed=c)
            for o, a, c in zip(opened, away, closed, strict=True)
        ]
    )
    pts = np.arange(count)
    return Motion(points, np.ones(count), pts / 25, pts, Fraction(1, 25), Fraction(25), (SIZE, SIZE), source="talk.mp4")


def opening(phase: float, count: int = FRAMES) -> np.ndarray:
    return 0.25 * np.sin(np.arange(count) * phase) ** 2


def film(motion: Motion) -> list[np.ndarray]:
    return [paint_face(points, SIZE) for points in motion.filled().points]


def planned(own: Motion, driver: Motion, region: str = "expression") -> VideoPlan:
    return plan_video(Video.of(own, 0), driver, Retargeting(region=region), 0)  # type: ignore[arg-type]


def rendered(
    plan: VideoPlan, pictures: list[np.ndarray], net: Reenactor = NET, first: int = 0, **more: bool
) -> list[np.ndarray]:
    embedding = embed_person(net, [Portrait(pictures[0], plan.own.points[0])], "cpu")
    renderer = VideoRenderer(net, plan, [embedding] * (int(plan.shots.max()) + 1), **more)
    return list(renderer.render(pictures[lookback(first) :], first))


def mouth_gaps(points: np.ndarray) -> np.ndarray:
    return np.mean([points[:, low, 1] - points[:, up, 1] for up, low in LIP_PAIRS], 0)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / max(np.square(a.astype(float) - b).mean(), 1e-9)))


def test_a_video_that_drives_itself_is_itself():
    for region, way in (("expression", 0.1), ("lips", 0.1), ("all", 0.0)):  # ways are added
        own = talking(opening(0.9), np.linspace(0, way, FRAMES))
        pictures, plan = film(own), planned(own, own, region)
        assert np.abs(plan.heads.points - plan.own.points).max() < 0.5, "lids that nearly close do close"
        for made, picture in zip(rendered(plan, pictures), pictures, strict=True):
            assert psnr(made, picture) > 42


@pytest.mark.parametrize("region", ["lips", "expression", "eyes"])
def test_what_is_not_to_change_stays_to_the_bit(region):
    """Whatever the networks paint."""
    own = talking(opening(0.9), np.linspace(0, 0.1, FRAMES))
    pictures, plan = film(own), planned(own, talking(opening(1.7), closed=opening(1.1) * 3), region)
    for t, (made, picture) in enumerate(zip(rendered(plan, pictures, TRAINED), pictures, strict=True)):
        differs = np.abs(made.astype(int) - picture).max(-1) > 0
        points = np.concatenate([plan.own.points[t], plan.heads.points[t]])
        assert differs.any()
        rows, columns = np.nonzero(differs)
        unit = float(plan.own.pose.scale[t])
        assert columns.min() > points[:, 0].min() - 0.5 * unit and columns.max() < points[:, 0].max() + 0.5 * unit
        assert rows.min() > points[:, 1].min() - 0.5 * unit and rows.max() < points[:, 1].max() + 1.1 * unit
        if region == "lips":
            assert rows.min() > plan.own.points[t, 29, 1], "above the nose's tip nothing changes"
        if region == "eyes":
            assert rows.max() < plan.own.points[t, 48:68, 1].min(), "the mouth does not change"


def test_the_mouth_that_is_made_is_the_drivers():
    """The video talks, and who drives it does not; and the other way round."""
    quiet, loud = talking(np.zeros(FRAMES)), talking(opening(0.9))
    made = planned(loud, quiet).heads.points
    assert np.ptp(mouth_gaps(made)) < 0.1 * np.ptp(mouth_gaps(loud.points))
    made = planned(quiet, loud).heads.points
    assert np.ptp(mouth_gaps(made)) == pytest.approx(np.ptp(mouth_gaps(loud.points)), rel=0.15)
    pictures = film(loud)
    silenced = rendered(planned(loud, quiet, "lips"), pictures, warp_only=True)
    most = int(mouth_gaps(loud.points).argmax())
    x, y = loud.points[most, 62:67:4].mean(0).round().astype(int)
    dark = [one[y - 6 : y + 7, x - 2 : x + 3].min() for one in (pictures[most], silenced[most])]
    assert dark[0] < dark[1], "the dark between the lips is gone"


def test_frames_without_a_face_pass_through():
    own = talking(opening(0.9, 30))
    own.points[12:18], own.confidence[12:18] = np.nan, 0
    pictures = film(own)
    for t in range(12, 18):
        pictures[t] = np.full_like(pictures[t], 40 + t)
    plan = planned(own, talking(opening(1.7, 30)))
    assert (plan.share[12:18] == 0).all() and plan.share[4] == 1
    steps = np.abs(np.diff(plan.share))
    assert 0 < steps.max() < 0.5, "softly"
    made = rendered(plan, pictures, TRAINED)
    assert all((made[t] == pictures[t]).all() for t in range(12, 18))
    assert (made[4] != pictures[4]).any()


def test_every_shot_has_a_reference_of_its_own():
    own = talking(np.concatenate([opening(0.9), 0.1 + opening(0.5)]), np.repeat([0.0, 0.12], FRAMES))
    own.cuts = [FRAMES]
    video = Video.of(own, 0.5)
    assert [(shot.first, shot.end) for shot in video.shots] == [(0, 12), (12, 24)]
    assert all(shot.first <= shot.reference < shot.end for shot in video.shots)
    assert mouth_gaps(own.points[[shot.reference for shot in video.shots]]).tolist() == pytest.approx(
        [mouth_gaps(own.points[:12]).min(), mouth_gaps(own.points[12:]).min()]
    )
    plan = plan_video(video, talking(np.zeros(24)), Retargeting(region="expression"), 0.5)
    assert plan.shots.tolist() == [0] * 12 + [1] * 12 and len(plan.references) == 2


def circle(picture: np.ndarray, points: np.ndarray) -> np.ndarray:
    """In place of the matte network: a disc about the head."""
    drawn = np.zeros(picture.shape[:2], np.float32)
    middle, reach = points.mean(0), 1.1 * float(np.ptp(points[:, 1]))
    cv2.circle(drawn, tuple(int(v) for v in middle), int(reach / 1.4), 1.0, -1)
    return cv2.GaussianBlur(drawn, (0, 0), 2)


@pytest.fixture
def matted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    calls: list[int] = []

    def find(picture: np.ndarray, points: np.ndarray, by_colour: bool) -> np.ndarray:
        assert not by_colour, "that would tremble"
        calls.append(len(calls))
        trembling = np.array([3 if len(calls) % 2 else -3, 0])
        return circle(picture, points + trembling)

    monkeypatch.setattr(video_frames, "find_matte", find)
    yield calls


def test_mattes_do_not_tremble(matted: list[int]):
    own = talking(opening(0.9))
    made = list(cuts(planned(own, own), film(own)))
    assert len(made) == len(matted) == FRAMES and [cut.number for cut in made] == list(range(FRAMES))
    mattes = np.stack([cut.matte for cut in made if cut.matte is not None and cut.at == made[0].at])
    assert len(mattes) == FRAMES
    centres = (mattes * np.arange(mattes.shape[2])).sum((1, 2)) / mattes.sum((1, 2))
    assert np.abs(np.diff(centres))[2:-2].max() < 2.5, "of the 6 pixels by which each differs from the next"


def test_a_head_that_turns_moves_over_a_steady_ground(matted: list[int]):
    own = talking(np.zeros(24))
    driver = talking(np.zeros(24), 0.05 * np.sin(np.arange(24) / 3))
    plan, pictures = planned(own, driver, "all"), film(own)
    assert plan.moves and np.ptp(plan.heads.pose.translation[:, 0]) > 4
    made = np.stack(rendered(plan, pictures, warp_only=True)).astype(int)
    assert np.abs(np.diff(made, axis=0)).max() > 60
    far = cv2.dilate(circle(pictures[0], own.points[0]), np.ones((31, 31))) == 0
    far[:, 40:160] = False
    assert far.any() and (made[:, far] == np.stack(pictures)[:, far]).all()
    grounds = [cut.ground for cut in with_grounds(cuts(plan, pictures, 0, True))]
    assert all(one is not None for one in grounds)


@pytest.mark.parametrize("region", ["expression", "all"])
def test_it_goes_on_where_it_ended(region, matted: list[int]):
    """From any piece on, the frames are those of a run without a pause."""
    own = talking(opening(0.9, 2 * EVERY + 6))
    pictures = film(own)
    plan = planned(own, talking(opening(1.7, 2 * EVERY + 6), 0.02 * opening(0.4, 2 * EVERY + 6)), region)
    for first in (EVERY, 2 * EVERY):
        matted.clear()
        whole = rendered(plan, pictures, TRAINED)
        matted[:] = range(lookback(first))  # the same tremble for the same frames
        part = rendered(plan, pictures, TRAINED, first)
        assert len(part) == len(pictures) - first
        assert all((a == b).all() for a, b in zip(whole[first:], part, strict=True))


def test_one_embedding_serves_a_whole_shot():
    """The networks see the person once, not a person a frame."""
    own = talking(opening(0.9))
    seen: list[int] = []
    hook = TRAINED.embedder.register_forward_hook(lambda module, given, out: seen.append(len(given[0])))
    rendered(planned(own, talking(opening(1.7))), film(own), TRAINED)
    hook.remove()
    assert seen == [1]


def test_a_mouth_that_closes_shows_no_teeth():
    wide = face_points(SIZE, opened=0.3, scale=0.12)
    picture = paint_face(wide, SIZE)
    inside = wide[60:68].mean(0).round().astype(int)
    cv2.rectangle(picture, tuple(int(v) for v in inside - 2), tuple(int(v) for v in inside + 2), (255, 255, 255), -1)
    closed = with_mouth_closing(picture, wide, face_points(SIZE, scale=0.12))
    assert closed[inside[1], inside[0]].max() < 200 < picture[inside[1], inside[0]].min()
    assert with_mouth_closing(picture, wide, wide) is picture
    assert with_mouth_closing(picture, wide, face_points(SIZE, opened=0.4, scale=0.12)) is picture
    other = (closed != picture).any(-1)
    x0, y0 = wide[48:60].min(0) - 3
    x1, y1 = wide[48:60].max(0) + 3
    rows, columns = np.nonzero(other)
    assert x0 < columns.min() and columns.max() < x1 and y0 < rows.min() and rows.max() < y1


def test_a_share_of_none_leaves_the_head_as_it_is():
    own, driver = talking(opening(0.9)), talking(opening(1.7))
    plan = planned(own, driver)
    assert (replace(plan, share=plan.share * 0).share == 0).all()
    assert np.abs(plan.heads.points - plan.own.points).max() > 1
