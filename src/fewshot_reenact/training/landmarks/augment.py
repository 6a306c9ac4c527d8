"""Changes of light, colour, sharpness and material for training pictures, and pictures that hold no human face."""

from pathlib import Path

import cv2
import numpy as np

from fewshot_reenact.errors import MissingExtra

_PHOTOGRAPHS = (  # of scikit-image, public domain or free; those without people
    "coffee.png", "chelsea.png", "rocket.jpg", "coins.png", "brick.png", "grass.png", "gravel.png", "page.png",
    "text.png", "motorcycle_left.png", "horse.png", "hubble_deep_field.jpg", "retina.jpg", "ihc.png", "moon.png",
    "cell.png", "color.png",
)  # fmt: skip
_bank: list[np.ndarray] = []
_noise: list[np.ndarray] = []


def _photographs() -> list[np.ndarray]:
    if not _bank:
        try:
            import skimage
        except ImportError as error:  # without it there are other scenes, and other figures
            raise MissingExtra("the photographs behind and between faces are scikit-image's", "train") from error
        for name in _PHOTOGRAPHS:
            picture = cv2.imread(str(Path(skimage.__file__).parent / "data" / name), cv2.IMREAD_COLOR)
            if picture is not None:
                k = 512 / max(picture.shape[:2])
                _bank.append(cv2.resize(picture, None, fx=k, fy=k, interpolation=cv2.INTER_AREA)[..., ::-1].copy())
    return _bank


def photograph(rng: np.random.Generator, side: int) -> np.ndarray:
    """A random part of a photograph of things, textures, or a cat."""
    pictures = _photographs()
    picture = pictures[int(rng.integers(len(pictures)))]
    size = int(rng.integers(48, min(picture.shape[:2]) + 1))
    y, x = (int(rng.integers(0, n - size + 1)) for n in picture.shape[:2])
    part = np.rot90(picture[y : y + size, x : x + size], int(rng.integers(4)) if rng.random() < 0.3 else 0)
    return cv2.resize(np.ascontiguousarray(part), (side, side), interpolation=cv2.INTER_AREA)


def animal(picture: np.ndarray, rng: np.random.Generator, close: bool = False) -> np.ndarray:
    """Draw a furry animal's head, as a photograph or a cartoon would show it, over a picture. Not a human face.

    close: with eyes and mouth where a crop of a face would have them, so that only the kind of face tells them apart.
    """
    side = picture.shape[0]
    big = picture.copy()
    r = side * rng.uniform(0.22, 0.45)
    cx, cy = side * rng.uniform(0.4, 0.6, 2)
    if close:
        r, cx, cy = side * rng.uniform(0.32, 0.46), side * rng.normal(0.5, 0.03), side * rng.normal(0.43, 0.05)
    fur = rng.uniform(40, 245) * np.array([1, rng.uniform(0.75, 1), rng.uniform(0.5, 1)])

    def tint(k: float) -> tuple[int, int, int]:
        return tuple(int(v) for v in np.clip(fur * k, 0, 255))  # type: ignore[return-value]

    def blob(x: float, y: float, w: float, h: float, colour: tuple[int, ...], turn: float = 0) -> None:
        size = (max(1, int(w * r)), max(1, int(h * r)))
        cv2.ellipse(big, (int(cx + x * r), int(cy + y * r)), size, turn, 0, 360, colour, -1, cv2.LINE_AA)

    ear_x, ear_y, tall = rng.uniform(0.55, 0.8), rng.uniform(0.7, 1.0), rng.uniform(0.3, 0.7)
    pointed = rng.random() < 0.5
    blob(0, 1.5, 1.2, 1.1, tint(0.95))
    for s in (-1, 1):
        if pointed:
            for k, shade in ((1.0, 0.9), (0.6, 0.6)):
                tip = np.array(
                    [
                        [s * (ear_x - 0.32 * k), -ear_y + 0.35],
                        [s * (ear_x + 0.12), -ear_y - tall * k],
                        [s * (ear_x + 0.28 * k), -ear_y + 0.5],
                    ]
                )
                cv2.fillConvexPoly(big, (tip * r + [cx, cy]).astype(np.int32), tint(shade), cv2.LINE_AA)
        else:
            blob(s * ear_x, -ear_y, 0.25, tall, tint(0.85), s * rng.uniform(0, 40))
    blob(0, 0, rng.uniform(0.85, 1.1), rng.uniform(0.8, 1.0), tint(1.0))
    muzzle_y = rng.uniform(0.3, 0.5)
    blob(0, muzzle_y, rng.uniform(0.35, 0.55), rng.uniform(0.3, 0.5), tint(rng.uniform(1.05, 1.5)))
    eye_x, eye_y, eye_r = rng.uniform(0.3, 0.55), -rng.uniform(0.0, 0.3), rng.uniform(0.07, 0.22)
    iris = tuple(int(v) for v in rng.integers(0, 200, 3)) if rng.random() < 0.4 else (15, 12, 10)
    nose = (25, 20, 20) if rng.random() < 0.7 else (200, 130, 130)
    for s in (-1, 1):
        blob(s * eye_x, eye_y, eye_r, eye_r * rng.uniform(0.7, 1.1), iris)
        blob(s * eye_x, eye_y, eye_r * 0.55, eye_r * 0.6, (8, 8, 8))
        blob(s * eye_x - eye_r * 0.3, eye_y - eye_r * 0.3, eye_r * 0.2, eye_r * 0.2, (240, 240, 240))
    nose_y = muzzle_y - rng.uniform(0.05, 0.2)
    blob(0, nose_y, rng.uniform(0.09, 0.22), rng.uniform(0.06, 0.16), nose)
    for s in (-1, 1):
        middle = (int(cx + s * 0.14 * r), int(cy + (nose_y + 0.25) * r))
        cv2.ellipse(
            big,
            middle,
            (max(1, int(0.14 * r)), max(1, int(0.12 * r))),
            0,
            0,
            180,
            (40, 25, 25),
            max(1, int(0.03 * r)),
            cv2.LINE_AA,
        )
    if rng.random() < 0.35:
        blob(0, nose_y + 0.42, 0.15, 0.2, (200, 90, 100))
    if rng.random() < 0.8:  # fur
        coarse: np.ndarray = rng.normal(0, rng.uniform(5, 25), (side // 2, side // 2, 1)).astype(np.float32)
        coarse = cv2.GaussianBlur(coarse, (0, 0), 0.6, sigmaY=2.0)
        coarse = cv2.resize(coarse, (side, side))[..., None]
        big = np.clip(big + coarse, 0, 255).astype(np.uint8)
    if rng.random() < 0.5:  # the light and shade of some real surface
        surface = photograph(rng, side).astype(np.float32).mean(2)
        surface = 1 + (surface - surface.mean()) / 255 * rng.uniform(0.3, 1.2)
        big = np.clip(big * surface[..., None], 0, 255).astype(np.uint8)
    if rng.random() < 0.6:
        big = cv2.GaussianBlur(big, (0, 0), float(rng.uniform(0.5, 1.5)))
    return big


def shuffled(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A face cut into 3 x 3 or 4 x 4 parts that changed places: all of its texture, none of its order."""
    n = int(rng.integers(3, 5))
    side = picture.shape[0] // n
    parts = [picture[y * side : (y + 1) * side, x * side : (x + 1) * side] for y in range(n) for x in range(n)]
    order = rng.permutation(n * n)
    rows = [np.concatenate([parts[order[y * n + x]] for x in range(n)], 1) for y in range(n)]
    return cv2.resize(np.concatenate(rows), picture.shape[1::-1])


def occlude(picture: np.ndarray, rng: np.random.Generator, share: float = 0.35) -> np.ndarray:
    """Cover a part with a patch: hands, microphones, hair."""
    out = picture.copy()
    side = picture.shape[0]
    w, h = (int(rng.uniform(0.08, share) * side) for _ in range(2))
    x, y = int(rng.integers(0, side - w)), int(rng.integers(0, side - h))
    colour = picture[int(rng.integers(side)), int(rng.integers(side))].astype(int) + rng.integers(-40, 40, 3)
    fill = tuple(int(v) for v in np.clip(colour, 0, 255))
    size = (w // 2 + 1, h // 2 + 1)
    cv2.ellipse(out, (x + w // 2, y + h // 2), size, float(rng.uniform(0, 180)), 0, 360, fill, -1)
    return out


def _grain(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Standard normal noise times 16, int16, cut from a stock: drawing it anew would take most of the time."""
    if not _noise:
        _noise.append((np.random.default_rng(0).normal(0, 16, (512, 512, 3))).astype(np.int16))
    y, x = int(rng.integers(512 - shape[0])), int(rng.integers(512 - shape[1]))
    part = _noise[0][y : y + shape[0], x : x + shape[1]]
    return part[:: rng.choice([-1, 1]), :: rng.choice([-1, 1])]


def painted(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """As if painted: flat patches with hard edges, and a canvas."""
    x = cv2.medianBlur(picture, 3 if rng.random() < 0.5 else 5)
    if rng.random() < 0.5:
        x = cv2.bilateralFilter(x, 5, 60, 60)
    weave = (_grain(rng, x.shape)[..., :1] * float(rng.uniform(0.1, 0.7))).astype(np.int16)
    return np.clip(x + weave, 0, 255).astype(np.uint8)


def photometric(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Light, colour, grey, sepia, dim, blur, noise, JPEG, coarse pixels, paint. Any square side up to 500."""
    x = picture
    if rng.random() < 0.12:
        x = painted(x, rng)
    if rng.random() < 0.2:
        k = float(rng.uniform(0.25, 0.8))
        small = cv2.resize(x, None, fx=k, fy=k, interpolation=cv2.INTER_AREA)
        x = cv2.resize(small, (x.shape[1], x.shape[0]), interpolation=cv2.INTER_LINEAR)
    if rng.random() < 0.15:
        x = cv2.GaussianBlur(x, (0, 0), float(rng.uniform(0.5, 1.6)))
    kind = rng.random()
    if kind < 0.25:
        x = cv2.cvtColor(cv2.cvtColor(x, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    tone = np.linspace(0, 1, 256) ** float(np.exp(rng.normal(0, 0.25)))
    tone = (tone - 0.5) * float(np.exp(rng.normal(0, 0.22))) + 0.5 + float(rng.normal(0, 0.09))
    gain = np.exp(rng.normal(0, 0.02 if 0.1 < kind < 0.25 else 0.10, 3))
    if kind < 0.07:
        gain = gain * [1.07, 0.94, 0.74]
    elif 0.25 < kind < 0.33:
        gain = gain * rng.uniform(0.15, 0.5)  # dim
    elif 0.33 < kind < 0.39:
        gain = gain * rng.uniform(0.5, 1.0, 3)  # coloured light, old varnish
    table = (np.clip(tone[:, None] * gain, 0, 1) * 255).astype(np.uint8)
    x = cv2.LUT(x, table[None])
    if rng.random() < 0.2:  # light from one side
        ramp = np.linspace(float(rng.uniform(0.4, 1)), float(rng.uniform(0.8, 1.3)), x.shape[1])
        ramp = (ramp if rng.random() < 0.5 else ramp[::-1]) * 256
        field = np.broadcast_to(ramp[None, :] if rng.random() < 0.7 else ramp[:, None], x.shape[:2]).astype(np.uint16)
        x = np.minimum((np.asarray(x, np.uint32) * field[..., None]) >> 8, 255).astype(np.uint8)
    if rng.random() < 0.25:
        x = np.clip(x + (_grain(rng, x.shape) * float(rng.uniform(0.08, 0.9))).astype(np.int16), 0, 255).astype(
            np.uint8
        )
    if rng.random() < 0.2:
        code = cv2.imencode(".jpg", x, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(15, 70))])[1]
        x = np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR))
    return x
