"""Options of what is measured, shared by the commands that read a driver."""

import click

from fewshot_reenact.cli.common import Decorator

fps_option: Decorator = click.option(
    "--fps",
    type=click.FloatRange(0.1, 999),
    metavar="N",
    help="Frames a second, where a folder of numbered frames is given in place of a video.",
)
mirror_option: Decorator = click.option(
    "--mirror", is_flag=True, help="Exchange left and right, of what a front camera filmed."
)
any_size_option: Decorator = click.option(
    "--any-size", is_flag=True, help="Take videos of any size; otherwise at most 8,192 x 8,192 pixels."
)
