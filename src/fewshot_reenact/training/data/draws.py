"""The random numbers of episodes, for many episodes at once.

They are drawn in blocks of episodes, each from generators of its own, so an episode's numbers are a function of (seed,
index) alone, and whoever needs those of a thousand episodes has them in a few calls. Each kind has its generator:
what an option makes of one kind leaves the others be.
"""

import dataclasses
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from fewshot_reenact.geometry.topology import MOUTH, N_POINTS

BLOCK = 256  # episodes
RARE_AMONG, REFERENCES = 24, 8  # frames among which a rare one is sought, and one like the portrait
# Jaw, brows, nose, eyes, mouth, forehead: an extractor displaces each as a whole.
NOISE_PARTS = (slice(0, 17), slice(17, 27), slice(27, 36), slice(36, 42), slice(42, 48), MOUTH, slice(68, 81))
SCALARS = ("person", "clip", "portrait", "rare", "shut", "target", "flip", "dense", "same")


@dataclass(frozen=True)
class Draws:
    """Numbers of E episodes of F frames each: target, K portraits, reference.

    Uniform in 0..1: scalars (E, len(SCALARS)), candidates (E, C), rarities (E, 24), references (E, 8), others
    (E, K - 1), turned (E, 2 + 24). Normal: tint (E, 5), points (E, F, 83, 2), parts (E, F, 7, 2).
    """

    scalars: np.ndarray
    candidates: np.ndarray
    rarities: np.ndarray
    references: np.ndarray
    others: np.ndarray
    tint: np.ndarray
    points: np.ndarray
    parts: np.ndarray
    turned: np.ndarray

    def __getitem__(self, name: str) -> np.ndarray:
        """One of SCALARS, (E,)."""
        return self.scalars[:, SCALARS.index(name)]


def draw(seed: int, indices: np.ndarray, portraits: int, candidates: int) -> Draws:
    """The numbers of the episodes `indices` (E,): K portraits each, and C candidates for the target."""
    blocks = np.unique(indices // BLOCK)
    drawn = [_draw_block(seed, int(number), portraits, candidates) for number in blocks]
    rows = np.searchsorted(blocks, indices // BLOCK) * BLOCK + indices % BLOCK
    names = [field.name for field in dataclasses.fields(Draws)]
    if len(drawn) == 1:
        return Draws(*(getattr(drawn[0], name)[rows] for name in names))
    return Draws(*(np.concatenate([getattr(block, name) for block in drawn])[rows] for name in names))


@lru_cache(maxsize=4)
def _draw_block(seed: int, number: int, portraits: int, candidates: int) -> Draws:
    def random(kind: int) -> np.random.Generator:
        return np.random.default_rng([seed, number, kind])

    frames = 2 + portraits
    uniform = {"scalars": len(SCALARS), "candidates": candidates, "rarities": RARE_AMONG, "references": REFERENCES}
    uniform["others"] = portraits - 1
    normal = {"tint": (5,), "points": (frames, N_POINTS, 2), "parts": (frames, len(NOISE_PARTS), 2)}
    made = {name: random(k).random((BLOCK, width)) for k, (name, width) in enumerate(uniform.items())}
    made |= {
        name: random(k).standard_normal((BLOCK, *shape)) for k, (name, shape) in enumerate(normal.items(), len(uniform))
    }
    made["turned"] = random(len(made)).random((BLOCK, 2 + RARE_AMONG))
    return Draws(**made)
