"""From a batch of episodes to what the networks see, and to the pictures that they make of it."""

from dataclasses import dataclass

import torch
from torch import Tensor

from fewshot_reenact.models.feather import feather_on
from fewshot_reenact.models.reenactor import Correction, FaceInputs, Reenactor
from fewshot_reenact.rendering.flow import face_flow, picture_box, to_signed
from fewshot_reenact.rendering.registration import Registration, dense_motion
from fewshot_reenact.rendering.registration import register as opencv_register
from fewshot_reenact.rendering.solid.pairs import solid_view
from fewshot_reenact.rendering.view import View


@dataclass(frozen=True)
class Inputs:
    """What one step needs of B episodes with K portraits, pictures in -1..1 and in face frames of side S.

    faces: the generator's, of the first portrait. pictures: (B, 3, P, P), the first portraits whole.
    view: how those are seen, see rendering.view; corrected by the dense motion in episodes that have one.
    portraits, rasters: (B, K, 3, S, S), the embedder's. truth: (B, 3, S, S). points: (B, 83, 2), the driver's, in the
    face frame. clip: (B,), the videos' numbers, or None.
    The paper's model sees whole crops for face frames; it warps nothing: `warped` is its portrait, pictures and view
    are None.
    """

    faces: FaceInputs
    pictures: Tensor | None
    view: View | None
    portraits: Tensor
    rasters: Tensor
    truth: Tensor
    points: Tensor
    clip: Tensor | None


def make_inputs(
    batch: dict[str, Tensor], size: int, device: torch.device, register: Registration = opencv_register
) -> Inputs:
    """The networks' inputs from a batch of episodes, pictures uint8 or already in -1..1; the warp is done on the
    device. register: who measures dense motion.
    """
    on = {name: value.to(device, non_blocking=True) for name, value in batch.items()}
    portraits, rasters = signed(on["sources"]), signed(on["source_rasters"])
    pictures, view, visible, warped = None, None, None, portraits[:, 0]
    if "portraits" in on:
        pictures = signed(on["portraits"][:, 0])
        view, visible = _warp(on, pictures, size)
        if "reference" in on:
            view = view.displaced(_dense(on, size, register))
        warped = view.of(pictures)
    faces = FaceInputs(warped, portraits[:, 0], rasters[:, 0], signed(on["driver_raster"]), visible)
    truth, points = signed(on["target"]), on["driver_face_points"]
    return Inputs(faces, pictures, view, portraits, rasters, truth, points, on.get("clip"))


def signed(value: Tensor) -> Tensor:
    """Pictures in -1..1, of uint8 or already that."""
    return to_signed(value) if value.dtype == torch.uint8 else value


def _warp(on: dict[str, Tensor], pictures: Tensor, size: int) -> tuple[View, Tensor]:
    """How the first portraits (B, 3, P, P) are seen in the targets' face frames, and how well, (B, 1, size, size): the
    one place where training decides how faces are warped.
    """
    return solid_view(on["driver_points"], on["portrait_points"][:, 0], on["driver_frame"], pictures, size)


def _dense(on: dict[str, Tensor], size: int, register: Registration) -> Tensor:
    """The dense motion of episodes, (B, 2, S, S) frame pixels: of those that are to go by points alone, none. As
    rendering.dense_motion measures it: the reference is a frame like the target, and a flat warp shows where it
    differs.
    """
    reference, driver = signed(on["reference"]), on["driver_points"]
    box = picture_box(reference, len(driver))
    flow = face_flow(driver, on["reference_points"], on["driver_frame"], box, size)
    shift = dense_motion(reference, flow, signed(on["target"]), register)
    return shift * feather_on(size, shift.device) * on["dense"].to(shift)[:, None, None, None]


def make_faces(
    model: Reenactor, x: Inputs, embedding: Tensor | None = None, psi: Tensor | None = None
) -> tuple[Tensor, Correction | None]:
    """The model's pictures of these episodes, (B, 3, S, S), about -1..1, and how it corrected the warp, if there is
    one. embedding (B, N), psi: see Reenactor.
    """
    if embedding is None:
        embedding = model.embed(x.portraits, x.rasters)
    if x.pictures is None or x.view is None:
        return model.generator(x.faces.driver_raster, embedding, psi).float(), None
    correction = model(x.faces, embedding, psi)
    return x.view.corrected(x.pictures, x.faces.warped, correction), correction
