#!/usr/bin/env python3
"""Draw what the pipeline does to one frame, with its own functions, for docs/how-it-works.md.

    scripts/build/make_explanations.py

The portrait is a bundled one, the expression a frame of a built-in motion; the head is turned aside, so that much is
hidden. Run it again when the model or the warp changes.
"""

from dataclasses import replace
from pathlib import Path

import click
import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor

import fewshot_reenact
from fewshot_reenact.geometry.affine import invert, transform
from fewshot_reenact.geometry.face_frame import face_frame
from fewshot_reenact.geometry.head_crop import cut_square, square_about
from fewshot_reenact.geometry.overlay import draw_points
from fewshot_reenact.geometry.rotation import about
from fewshot_reenact.geometry.topology import INNER_LIP
from fewshot_reenact.inputs.portrait import Portrait
from fewshot_reenact.inputs.portrait_files import PortraitSource
from fewshot_reenact.landmarks.builtin import BuiltinLandmarks
from fewshot_reenact.models.checkpoint import load_model
from fewshot_reenact.motion.builtins import load_builtin_motion
from fewshot_reenact.motion.heads import HeadMotion, Lift
from fewshot_reenact.motion.retarget import Retargeting
from fewshot_reenact.provenance.label import Label
from fewshot_reenact.rendering.plan import plan_motion
from fewshot_reenact.rendering.solid.portrait import SolidPortrait
from fewshot_reenact.rendering.solid.surface import turned
from fewshot_reenact.rendering.textured import TexturedRenderer

ASSETS = Path(fewshot_reenact.__file__).parent / "assets"
DOCS = Path(__file__).resolve().parents[2] / "docs"
SIDE, GAP = 300, 6  # pixels of a panel, and between two
TURN = -24.0  # degrees of yaw that the figures add to the motion's own
SIDES = (0.0, 35.0, 70.0)  # degrees from which the lifted head is seen
GROUND = (24, 26, 30)
AMPLIFIED = 2.0


@click.command(help=__doc__.split("\n\n")[0])
@click.option("--portrait", default=ASSETS / "astronaut.jpg", type=click.Path(path_type=Path), show_default=True)
@click.option("--motion", default="motion:surprise", show_default=True)
def main(portrait: Path, motion: str) -> None:
    torch.set_grad_enabled(False)
    person = PortraitSource.parse(portrait).load(BuiltinLandmarks())[0][0]
    heads = turned_aside(most_open(plan_motion(load_builtin_motion(motion), person, Retargeting(), 0.5).heads))
    model = load_model()
    renderer = TexturedRenderer.open(model, [person], heads)
    bare = next(renderer.render(heads))
    whole = labelled(bare)
    moved = labelled(next(TexturedRenderer.open(model, [person], heads, warp_only=True).render(heads)))
    own, visible, warped, change, drawn = in_the_face_frame(renderer, heads)
    head, matrix = cut_square(person.picture, square_about(person.points, person.size), 2 * SIDE)
    points = draw_points(head, transform(matrix, person.points).astype(np.float32))
    save("points", [head, points, drawn])
    save("lift", [lifted(renderer.solids[0], renderer.lifts[0], person, angle) for angle in SIDES])
    save("warp", [own, warped, visible])
    save("change", [warped, change, labelled(face_of(bare, heads, 2 * SIDE))])
    save("whole", [person.picture, moved, whole])


def labelled(made: np.ndarray) -> np.ndarray:
    """With the visible label that every output has."""
    return Label(*made.shape[:2]).draw(made)


def most_open(heads: HeadMotion) -> HeadMotion:
    """The frame with the widest mouth, alone."""
    lips = heads.solid[:, INNER_LIP, 1]
    at = int(np.argmax(np.ptp(lips, axis=1)))
    return heads[at : at + 1]


def turned_aside(heads: HeadMotion) -> HeadMotion:
    """Turned about the upright axis, in place."""
    rotation = about(1, np.radians(np.array([TURN]))) @ heads.pose.rotation
    return HeadMotion(replace(heads.pose, rotation=rotation), heads.solid)


def in_the_face_frame(renderer: TexturedRenderer, heads: HeadMotion) -> tuple[np.ndarray, ...]:
    """What stands in the face's own frame, (L, L, 3) uint8 each: the portrait as it is, how much it shows of each
    place, the portrait through the warp, what the networks change, and the points as the networks see them.
    """
    faces = renderer.faces
    frames = face_frame(heads.points, renderer.size)
    warp = renderer.solids[0].warp(heads, frames)
    view = faces.view([0], warp)
    drawn = faces.signed([faces.draw(heads.points[0], frames[0])])
    kept = faces.kept(heads, frames, renderer.lifts)[:, 0]
    warped, change, _ = faces.through([0], view, drawn, warp.visible, kept)
    shown = (warp.visible[0, 0].clamp(0, 1).numpy() * 255).astype(np.uint8)
    return (
        uint8(faces.large),
        cv2.applyColorMap(shown, cv2.COLORMAP_VIRIDIS)[..., ::-1],
        uint8(warped),
        uint8(AMPLIFIED * change),
        uint8(drawn),
    )


def uint8(x: Tensor) -> np.ndarray:
    """(1, 3, S, S) in -1..1 -> (S, S, 3)."""
    return ((x[0].permute(1, 2, 0).clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).numpy()


def face_of(picture: np.ndarray, heads: HeadMotion, side: int) -> np.ndarray:
    """The face in a made picture, in its own frame, (side, side, 3)."""
    frame = face_frame(heads.points, side)[0]
    return cv2.warpAffine(picture, invert(frame), (side, side), flags=cv2.INTER_AREA)


def lifted(solid: SolidPortrait, own: Lift, person: Portrait, angle: float) -> np.ndarray:
    """The portrait's pixels where they are in space, seen from `angle` degrees aside, (SIDE, SIDE, 3): the part of them
    that moves with the head, as tiles, the farthest first.
    """
    surface, rows_columns = solid.surface, solid.surface.shape
    aside = torch.from_numpy(about(1, np.radians(angle))).float()[None]
    there = replace(solid.own, rotation=aside @ solid.own.rotation)
    placed = turned(surface.where, surface.depth, solid.own, there, solid.nearness)[0].numpy().reshape(*rows_columns, 3)
    firm = surface.rigid[0].numpy().reshape(rows_columns)
    flat = surface.where[0].numpy().reshape(*rows_columns, 2)
    reach = 1.75 * float(own.pose.scale)
    onto = np.array([[SIDE / (2 * reach), 0], [0, SIDE / (2 * reach)]])
    centre = np.asarray(own.pose.translation) + np.array([0, 0.15 * float(own.pose.scale)])
    shown = (placed[..., :2] - centre) @ onto.T + SIDE / 2
    picture = np.full((SIDE, SIDE, 3), GROUND, np.uint8)
    near = placed[..., 2]
    rows, columns = (n - 1 for n in firm.shape)
    for _, r, c in sorted((near[r : r + 2, c : c + 2].mean(), r, c) for r in range(rows) for c in range(columns)):
        if firm[r, c] < 0.35:
            continue
        x, y = np.clip(flat[r : r + 2, c : c + 2].mean((0, 1)), 0, np.array(person.picture.shape[1::-1]) - 1).astype(
            int
        )
        corners = shown[[r, r, r + 1, r + 1], [c, c + 1, c + 1, c]]
        tile = np.round(corners * 16).astype(np.int32)
        colour = person.picture[y, x].astype(float)
        cv2.fillConvexPoly(picture, tile, colour.tolist(), cv2.LINE_AA, 4)
        cv2.polylines(picture, [tile], True, (0.72 * colour).tolist(), 1, cv2.LINE_AA, 4)
    points = there.placed(torch.from_numpy(own.solid).float()[None], solid.nearness)[0][0].numpy()
    for x, y in (points - centre) @ onto.T + SIDE / 2:
        cv2.circle(picture, (round(x * 16), round(y * 16)), 28, (255, 240, 80), -1, cv2.LINE_AA, 4)
    return picture


def save(name: str, panels: list[np.ndarray]) -> None:
    """Panels side by side, as one of the pictures of that page."""
    rows = []
    for panel in panels:
        rows += [cv2.resize(panel, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.full((SIDE, GAP, 3), 255, np.uint8)]
    path = DOCS / f"explained-{name}.jpg"
    Image.fromarray(np.concatenate(rows[:-1], 1)).save(path, quality=84)
    click.echo(f"{path}: {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
