"""Whose face, whose motion, in three dimensions: the driver's change put onto the portrait's own head.

A portrait is lifted: its points keep their places in the picture exactly, the fitted head (`geometry.solid`) gives
their depth. A driver is split into how its head is turned, how near it is, where it is, and the expression in the
face's own axes, so that a smile seen from the side is the same smile from the front. The portrait takes the change of
each since a reference frame: R_t R_ref^T on its own rotation, the ratio of the scales, the way of the origin, and
the expression's change by its own mouth's width.
"""

import numpy as np

from fewshot_reenact.geometry.rotation import exponential, logarithm
from fewshot_reenact.geometry.solid import HeadPose
from fewshot_reenact.geometry.topology import LEFT_LIDS, LIP_PAIRS, N_POINTS, REGIONS, RIGHT_LIDS
from fewshot_reenact.motion.gaps import LIP_FOLLOWERS, fit_gaps, lid_shares, lid_targets, lip_targets
from fewshot_reenact.motion.heads import HeadMotion, Lift
from fewshot_reenact.motion.retarget import EXPRESSION_PARTS, Retargeting, slowed

_OF_THE_MOUTH = [*REGIONS["mouth"], *REGIONS["jaw"]]
_NARROWEST, _WIDEST = 0.6, 1.6  # a mouth's width against the driver's: what lies beyond is a bad fit, not a mouth


def retarget_solid(
    driver: HeadMotion,
    portrait: Lift,
    times: np.ndarray,
    *,
    how: Retargeting | None = None,
    reference: int | None = None,
    sizes: np.ndarray | None = None,
) -> HeadMotion:
    """The portrait's head for every frame of the driver, relative motion.

    times: (T,) seconds. how: its region, strength and travel, None: all of it; absolute motion is not relative.
    reference: the driver's frame that counts as the portrait's own state; None: the driver's person at rest, looking
    at the camera from where the first frame has it. sizes: (T,), the logarithms of the driver's scales, where they are
    slowed already, as by who sees no later frames; None: they are slowed here.
    """
    how = how or Retargeting()
    if how.motion != "relative":
        raise ValueError("absolute motion is not relative to the portrait: see HeadMotion.of")
    rest = driver.pose.rest() if reference is None else driver.solid[reference]
    solid = expressed(driver.solid, rest[None], portrait.solid[None], how, driver.pose.yaw)
    if how.region not in ("all", "pose"):
        return HeadMotion(_still(portrait.pose, len(solid)), solid)
    return HeadMotion(moved(driver.pose, portrait.pose, times, how, reference, sizes), solid)


def expressed(
    driver: np.ndarray, rest: np.ndarray, own: np.ndarray, how: Retargeting, yaw: np.ndarray | float = 0.0
) -> np.ndarray:
    """A head with a driver's expressions in its own axes. driver: (T, 83, 3). rest: the driver's head that counts as
    the state `own` of the other; both (1 or T, 83, 3). yaw: (T,) degrees, of the driver, see `gaps.lid_shares`. Returns
    (T, 83, 3).
    """
    wanted = EXPRESSION_PARTS[how.region]
    gain = np.zeros((N_POINTS, 1))
    for part in wanted:
        gain[REGIONS[part]] = how.strength
    widths = [float(np.linalg.norm(face[54] - face[48])) for face in (own[0], rest[0])]
    gain[_OF_THE_MOUTH] *= np.clip(widths[0] / max(widths[1], 1e-6), _NARROWEST, _WIDEST)
    solid = own + gain * (driver - rest)
    if "mouth" in wanted:
        target = lip_targets(driver, rest, own, how.strength)
        solid = fit_gaps(solid, LIP_PAIRS, target, LIP_FOLLOWERS)
    if "left_eye" in wanted:
        shares = lid_shares(driver, rest, how.strength, yaw)
        for eye, pairs in enumerate((LEFT_LIDS, RIGHT_LIDS)):
            solid = fit_gaps(solid, pairs, lid_targets(shares, own, eye), {})
    return solid


def _still(pose: HeadPose, count: int) -> HeadPose:
    """The same pose in T frames."""

    def again(value: np.ndarray) -> np.ndarray:
        return np.broadcast_to(value, (count, *np.shape(value)))

    return HeadPose(
        again(pose.rotation), again(pose.scale), again(pose.translation), pose.identity, again(pose.expression)
    )


def moved(
    driver: HeadPose,
    portrait: HeadPose,
    times: np.ndarray,
    how: Retargeting,
    reference: int | None,
    sizes: np.ndarray | None,
) -> HeadPose:
    """The portrait's head, one pose or T of them, turned, nearer and elsewhere as the driver's is, for T frames; see
    `retarget_solid`.
    """
    strength, travel = how.strength, how.travel
    start = 0 if reference is None else reference
    before = np.eye(3) if reference is None else driver.rotation[reference]
    change = driver.rotation @ before.T
    if strength != 1:
        change = exponential(strength * logarithm(change))
    # Both sides slowed, as in the plane: one frame's error at the reference would stay in all the others.
    size = slowed(np.log(driver.scale), times) if sizes is None else sizes
    scale = portrait.scale * np.exp(travel * strength * (size - size[start]))
    went = travel * strength * (driver.translation - driver.translation[start]) / driver.scale[start]
    return HeadPose(
        change @ portrait.rotation,
        scale,
        portrait.translation + went * np.asarray(portrait.scale)[..., None],
        portrait.identity,
        np.broadcast_to(portrait.expression, (len(scale), portrait.expression.shape[-1])),
    )
