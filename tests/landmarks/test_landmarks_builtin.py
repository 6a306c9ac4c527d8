"""The built-in landmarks: found where faces are and nowhere else, at every size, turned, mirrored, cut off."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from fewshot_reenact.errors import ModelError
from fewshot_reenact.geometry.topology import LEFT_EYE, MOUTH, RIGHT_EYE, eye_distance, mirror
from fewshot_reenact.landmarks import network
from fewshot_reenact.landmarks.builtin import BuiltinLandmarks
from fewshot_reenact.landmarks.detector import DetectorNet, face_size, find
from fewshot_reenact.landmarks.network import PointNet, load_network, save_network
from fewshot_reenact.landmarks.registry import load_backend
from fewshot_reenact.models.convolutions import fuse
from fewshot_reenact.weights import WEIGHTS


@pytest.fixture(scope="module")
def backend() -> BuiltinLandmarks:
    return BuiltinLandmarks()


def load(path: Path) -> np.ndarray:
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    assert picture is not None
    return np.ascontiguousarray(picture[..., ::-1])


@pytest.fixture(scope="module")
def astronaut(assets: Path) -> np.ndarray:
    return load(assets / "astronaut.jpg")


@pytest.fixture(scope="module")
def hopper(assets: Path) -> np.ndarray:
    return load(assets / "grace_hopper.jpg")


def error(got: np.ndarray, want: np.ndarray) -> float:
    """Mean distance over the eye distance."""
    return float(np.linalg.norm(got - want, axis=1).mean() / eye_distance(want))


def test_a_portrait_has_one_face_with_its_parts_in_place(backend: BuiltinLandmarks, astronaut: np.ndarray) -> None:
    faces = backend.detect(astronaut)
    assert len(faces) == 1
    (face,) = faces
    assert face.points.shape == (83, 2) and face.points.dtype == np.float32 and face.box.shape == (4,)
    assert 0.8 < face.confidence <= 1
    unit = astronaut.shape[1] / 512  # places read off the picture by eye
    for part, place in ((LEFT_EYE, (218, 162)), (RIGHT_EYE, (287, 166)), (MOUTH, (248, 233))):
        assert np.linalg.norm(face.points[part].mean(0) / unit - place) < 6
    x0, y0, x1, y1 = face.box
    assert x0 < face.points[36, 0] < face.points[45, 0] < x1 and y0 < face.points[30, 1] < y1


def test_found_by_name() -> None:
    assert load_backend("builtin").name == "builtin"


def test_every_bundled_portrait_has_a_face(backend: BuiltinLandmarks, hopper: np.ndarray) -> None:
    assert [face.confidence > 0.8 for face in backend.detect(hopper)] == [True]


@pytest.mark.parametrize("size", [(1, 1), (1, 400), (400, 1), (9, 9), (40, 3), (64, 64), (8, 30000), (300, 480)])
def test_no_face_in_nothing(backend: BuiltinLandmarks, size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    assert backend.detect(np.full((*size, 3), 90, np.uint8)) == []
    assert backend.detect(rng.integers(0, 256, (*size, 3), dtype=np.uint8)) == []


def test_no_face_where_the_face_is_covered(backend: BuiltinLandmarks, astronaut: np.ndarray) -> None:
    points = backend.detect(astronaut)[0].points
    (x0, y0), (x1, y1) = points.min(0).astype(int) - 12, points.max(0).astype(int) + 12
    covered = astronaut.copy()
    covered[y0:y1, x0:x1] = 120
    assert backend.detect(covered) == []
    assert backend.refine(covered, points) is None


def test_the_mirror_image_has_mirrored_points(backend: BuiltinLandmarks, astronaut: np.ndarray) -> None:
    there = backend.detect(astronaut)[0].points
    back = backend.detect(np.ascontiguousarray(astronaut[:, ::-1]))[0].points
    assert error(mirror(back, astronaut.shape[1]), there) < 0.03


@pytest.mark.parametrize("degrees", [-40, -20, 20, 40])
def test_turned_in_the_picture_plane(backend: BuiltinLandmarks, astronaut: np.ndarray, degrees: float) -> None:
    want = backend.detect(astronaut)[0].points
    h, w = astronaut.shape[:2]
    matrix = cv2.getRotationMatrix2D(tuple(map(float, want.mean(0))), degrees, 1.0)
    faces = backend.detect(cv2.warpAffine(astronaut, matrix, (w, h), borderMode=cv2.BORDER_REPLICATE))
    assert faces
    assert error(faces[0].points, want @ matrix[:, :2].T + matrix[:, 2]) < 0.05


def test_a_face_of_a_twentieth_of_the_height(backend: BuiltinLandmarks, astronaut: np.ndarray) -> None:
    want = backend.detect(astronaut)[0].points
    k = 30 / float(np.ptp(want[:, 1]))
    small = cv2.resize(astronaut, None, fx=k, fy=k, interpolation=cv2.INTER_AREA)
    scene = np.full((600, 800, 3), (60, 90, 110), np.uint8)
    scene[300 : 300 + small.shape[0], 500 : 500 + small.shape[1]] = small
    faces = backend.detect(scene)
    assert len(faces) == 1
    assert error(faces[0].points, (want + 0.5) * k - 0.5 + [500, 300]) < 0.12


@pytest.mark.parametrize("width", [100, 640, 2500])
def test_a_face_that_fills_the_picture(backend: BuiltinLandmarks, astronaut: np.ndarray, width: int) -> None:
    want = backend.detect(astronaut)[0].points
    # From above the brows to below the mouth: forehead and chin cut off.
    (x0, y0), (x1, y1) = want.min(0).astype(int), want.max(0).astype(int)
    y0, y1 = y0 + (y1 - y0) // 8, y1 - (y1 - y0) // 12
    k = width / (x1 - x0)
    close = cv2.resize(astronaut[y0:y1, x0:x1], None, fx=k, fy=k, interpolation=cv2.INTER_LINEAR)
    faces = backend.detect(close)
    assert len(faces) == 1
    inner = slice(17, 68)
    got = (faces[0].points + 0.5) / k - 0.5 + [x0, y0]
    assert np.linalg.norm(got[inner] - want[inner], axis=1).mean() / eye_distance(want) < 0.06


def test_two_faces_the_larger_first(backend: BuiltinLandmarks, astronaut: np.ndarray, hopper: np.ndarray) -> None:
    big = backend.detect(astronaut)[0]
    face = backend.detect(hopper)[0]
    k = 0.5 * float(np.ptp(big.points[:, 1]) / np.ptp(face.points[:, 1]))
    small = cv2.resize(hopper, None, fx=k, fy=k, interpolation=cv2.INTER_AREA)
    height = max(astronaut.shape[0], small.shape[0])
    scene = np.zeros((height, astronaut.shape[1] + small.shape[1], 3), np.uint8)
    scene[: small.shape[0], : small.shape[1]] = small
    scene[: astronaut.shape[0], small.shape[1] :] = astronaut
    faces = backend.detect(scene)
    assert len(faces) == 2
    assert error(faces[0].points, big.points + np.float32([small.shape[1], 0])) < 0.03
    assert error(faces[1].points, face.points * k) < 0.08


def test_refine_finds_back_from_a_jump(backend: BuiltinLandmarks, astronaut: np.ndarray) -> None:
    want = backend.detect(astronaut)[0].points
    unit = float(eye_distance(want))
    for shift, scale in (((0.25, 0.0), 1.0), ((0.0, -0.25), 1.0), ((0.1, 0.1), 1.2), ((0.0, 0.0), 0.85)):
        start = (want - want.mean(0)) * scale + want.mean(0) + np.multiply(shift, unit)
        first = backend.refine(astronaut, start.astype(np.float32))
        assert first is not None
        second = backend.refine(astronaut, first.points)
        assert second is not None and error(second.points, want) < 0.02
        assert second.confidence > 0.8


def test_refine_knows_when_the_face_is_gone(backend: BuiltinLandmarks, astronaut: np.ndarray) -> None:
    points = backend.detect(astronaut)[0].points
    assert backend.refine(np.zeros_like(astronaut), points) is None
    assert backend.refine(astronaut, points + np.float32([0, 3 * eye_distance(points)])) is None
    assert backend.refine(astronaut, np.full((83, 2), np.nan, np.float32)) is None
    assert backend.refine(astronaut, points + np.float32(1e5)) is None
    assert backend.refine(astronaut, np.zeros((83, 2), np.float32)) is None


def test_the_same_picture_gives_the_same_points(backend: BuiltinLandmarks, astronaut: np.ndarray) -> None:
    before = astronaut.copy()
    a, b = backend.detect(astronaut)[0], backend.detect(astronaut)[0]
    assert np.array_equal(a.points, b.points) and a.confidence == b.confidence
    assert np.array_equal(before, astronaut)


def test_no_picture_is_left_in_the_next_one(backend: BuiltinLandmarks, astronaut: np.ndarray) -> None:
    small = cv2.resize(astronaut, (200, 120))
    alone = [find(backend.detector, p, 0.3, backend.device)[0] for p in (small, astronaut)]  # type: ignore[arg-type]
    with ThreadPoolExecutor(2) as threads:
        pictures = [small, astronaut, np.zeros_like(astronaut)] * 4
        again = list(threads.map(lambda p: find(backend.detector, p, 0.3, backend.device)[0], pictures))  # type: ignore[arg-type]
    for i, found in enumerate(again):
        assert np.array_equal(found, alone[i % 3]) if i % 3 < 2 else len(found) == 0


def test_a_face_is_found_where_it_is_at_every_reduction(backend: BuiltinLandmarks, astronaut: np.ndarray) -> None:
    want = find(backend.detector, astronaut, 0.3, backend.device)[0][0]  # type: ignore[arg-type]
    for width in (300, 477, 641, 1023, 1439, 2000):
        k = width / astronaut.shape[1]
        got = find(backend.detector, cv2.resize(astronaut, (width, width)), 0.3, backend.device)[0][0]  # type: ignore[arg-type]
        assert np.linalg.norm((got + 0.5) / k - 0.5 - want, axis=1).max() < 0.08 * float(face_size(want)), width


def test_fusing_changes_nothing() -> None:
    torch.manual_seed(0)
    for net, shape in ((PointNet(), (2, 3, 128, 128)), (DetectorNet(), (1, 3, 64, 96))):
        for _ in range(3):  # norms that are not the identity
            net(torch.randn(shape))
        net.eval()
        x = torch.randn(shape)
        with torch.no_grad():
            before = net(x)
            after = fuse(net)(x)
        pairs = zip(before, after, strict=True) if isinstance(before, tuple) else [(before, after)]
        for one, other in pairs:
            assert torch.allclose(one, other, atol=1e-3)
        assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in net.modules())


def test_weights_are_small() -> None:
    assert sum((WEIGHTS / f"{name}.safetensors").stat().st_size for name in ("detector", "landmarks")) < 8_000_000


def test_broken_weights_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "landmarks.safetensors"

    def message() -> str:
        with pytest.raises(ModelError) as caught:
            load_network(PointNet, path)
        assert caught.value.exit_code == 4
        text = str(caught.value)
        assert str(path) in text and "\n" not in text
        return text

    assert "missing" in message()
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    assert "git lfs pull" in message()
    path.write_bytes((WEIGHTS / "landmarks.safetensors").read_bytes()[:50_000])
    assert "damaged" in message()
    save_file({"a": torch.zeros(1)}, str(path))
    assert "damaged" in message()
    save_network(DetectorNet(), path, DetectorNet().dims, "")
    assert "do not fit" in message()
    monkeypatch.setattr("fewshot_reenact.landmarks.builtin.WEIGHTS", tmp_path / "nowhere")
    with pytest.raises(ModelError, match="missing"):
        BuiltinLandmarks()


def test_weights_go_through_a_file_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    net = PointNet(widths=(8, 16, 24, 32), neck=40).eval()
    save_network(net, path, net.dims, "a test")
    dims, tensors = network.read_weights(path)
    assert dims == net.dims
    for key, value in net.state_dict().items():
        assert torch.equal(tensors[key], value.half().float() if value.is_floating_point() else value)


@pytest.mark.slow
def test_near_the_teacher_on_people_it_never_saw(backend: BuiltinLandmarks, shared: Path) -> None:
    import av

    errors = []
    paths = sorted((shared / "data" / "clips" / "val").glob("*.mp4"))[::6]
    assert paths
    for path in paths:
        want = np.load(path.with_suffix(".npz"))["points"].astype(np.float32)
        with av.open(str(path)) as container:
            for i, frame in enumerate(container.decode(video=0)):
                if i % 25 == 0:
                    faces = backend.detect(frame.to_ndarray(format="rgb24"))
                    assert faces, f"{path.name}, frame {i}"
                    errors.append(error(faces[0].points, want[i]))
    assert np.mean(errors) < 0.05


@pytest.mark.slow
def test_paintings_statues_and_small_faces_yes_animals_no(backend: BuiltinLandmarks, shared: Path) -> None:
    folder = shared / "data" / "portraits"
    counts = {path.name: len(backend.detect(load(path))) for path in folder.glob("*.jpg")}
    assert counts.pop("american_gothic_1024.jpg") == 2
    assert counts and set(counts.values()) == {1}, counts
    mistaken = [path.name for path in (folder / "no_face").glob("*.jpg") if backend.detect(load(path))]
    assert len(mistaken) <= 1, mistaken
