"""How a portrait is animated: the options that `animate` and `live` share, with one name, meaning and default."""

from typing import Any

import click

from fewshot_reenact.cli.common import FILE, MODEL, Decorator
from fewshot_reenact.motion.retarget import MOTIONS, REGION_CHOICES
from fewshot_reenact.pipelines.options import CROP_SIZES, FRAMES, RUNTIMES, AnimateOptions

_default = AnimateOptions.default

portraits_option: Decorator = click.option(
    "-p",
    "--portrait",
    "portraits",
    multiple=True,
    type=FILE,
    metavar="FILE",
    help="A further picture of the same person; may be given again. With -p, PORTRAIT may be left out.",
)
motion_option: Decorator = click.option(
    "--motion",
    type=click.Choice(MOTIONS),
    default=_default("motion"),
    show_default=True,
    help="relative: the driver's change from its frame nearest to the portrait, in the portrait's proportions. "
    "absolute: the face goes where the driver's is.",
)
frame_option: Decorator = click.option(
    "--frame",
    type=click.Choice(FRAMES),
    default=_default("frame"),
    show_default=True,
    help="full: the whole portrait picture. crop: a square about the head.",
)
size_option: Decorator = click.option(
    "--size",
    type=click.IntRange(*CROP_SIZES),
    default=_default("size"),
    show_default=True,
    metavar="256..1024",
    help="Side of the square, in pixels; for --frame crop.",
)
driver_face_option: Decorator = click.option(
    "--driver-face",
    default=_default("driver_face"),
    show_default=True,
    metavar="largest|N",
    help="Which face of the driver to follow.",
)
region_option: Decorator = click.option(
    "--region",
    type=click.Choice(REGION_CHOICES),
    default=_default("region"),
    help="What moves; for relative motion. [default: all; of a video as PORTRAIT the expression]",
)
strength_option: Decorator = click.option(
    "--strength",
    type=click.FloatRange(0, 2),
    default=_default("strength"),
    show_default=True,
    metavar="0..2",
    help="How much it moves; for relative motion.",
)
travel_option: Decorator = click.option(
    "--travel",
    type=click.FloatRange(0, 1),
    default=_default("travel"),
    show_default=True,
    metavar="0..1",
    help="How much of the head's way, and of its coming nearer, is taken; for relative motion.",
)
neutral_option: Decorator = click.option(
    "--neutral",
    is_flag=True,
    help="Take the portrait's own expression out before it is driven, a smile or an open mouth; for relative motion.",
)
matte_option: Decorator = click.option(
    "--matte",
    type=FILE,
    metavar="FILE",
    help="A picture as large as PORTRAIT, white (or opaque) where the person is. Of several portraits, for the first, "
    "whose picture moves. [default: PORTRAIT's own transparency, or found by a network]",
)
model_option: Decorator = click.option(
    "--model", type=FILE, metavar=MODEL, help="Other weights (safetensors). [default: the built-in model]"
)
warp_only_option: Decorator = click.option(
    "--warp-only", is_flag=True, help="Leave the networks out: the plain warp, for comparison."
)
dense_option: Decorator = click.option(
    "--dense/--no-dense",
    default=None,
    help="Take from a driver's video also what its 83 points miss of the motion. [default: unless --warp-only]",
)
runtime_option: Decorator = click.option(
    "--runtime",
    type=click.Choice(RUNTIMES),
    default=_default("runtime"),
    show_default=True,
    help="What computes the networks. onnx: ONNX Runtime, on the CPU, where it is faster; needs the extra onnx. "
    "onnx-int8: in int8, faster again but for some seconds to begin, and nearly the same pictures.",
)
consent_file_option: Decorator = click.option(
    "--consent-file",
    type=FILE,
    metavar="FILE",
    help="A statement in which the person shown agrees: its SHA-256 is kept in the result; keep the statement.",
)
sign_cert_option: Decorator = click.option(
    "--sign-cert", type=FILE, metavar="PEM", help="Sign with this certificate chain. [default: a key made here]"
)
sign_key_option: Decorator = click.option(
    "--sign-key", type=FILE, metavar="PEM", help="The private key of --sign-cert."
)
label_option: Decorator = click.option(
    "--label",
    type=click.Choice(("en", "cn")),
    help='What the visible label says. cn: China\'s "AI\u751f\u6210", larger, with the metadata of GB 45438-2025. '
    "[default: en]",
)
no_label_option: Decorator = click.option(
    "--no-label", is_flag=True, help='No visible "AI-generated". Watermark, signature and tags are always there.'
)
private_driver_option: Decorator = click.option(
    "--private-driver",
    is_flag=True,
    help="Leave the driver's hash out of the manifest, and the marks that the driver itself carries.",
)
watermark_key_option: Decorator = click.option(
    "--watermark-key",
    type=FILE,
    metavar="FILE",
    help="Stamp the watermark under this key (`reenact keys --new-watermark-key`), not under the public one.",
)
provider_option: Decorator = click.option(
    "--provider", metavar="NAME", help="Who makes this available, for the manifest, for everyone to read."
)
timestamp_option: Decorator = click.option(
    "--timestamp",
    metavar="URL",
    help="Have the signature stamped with the time by this authority (RFC 3161): the one thing that uses the network.",
)
embed_thumbnails_option: Decorator = click.option(
    "--embed-thumbnails",
    is_flag=True,
    help="Put small pictures of the portraits into the manifest. Otherwise only hashes of the inputs are in it.",
)


def chosen_label(no_label: bool, label: str | None) -> Any:
    """`label` of AnimateOptions. Raises click.UsageError where both options are given."""
    if no_label and label:
        raise click.UsageError(f"--no-label leaves out what --label {label} asks for; give one of them")
    return False if no_label else "cn" if label == "cn" else True
