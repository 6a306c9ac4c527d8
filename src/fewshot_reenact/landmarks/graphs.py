"""Detector and point network as ONNX graphs (models.onnx_graphs)."""

from torch import Tensor, nn

from fewshot_reenact.geometry.align import CROP
from fewshot_reenact.geometry.topology import N_POINTS
from fewshot_reenact.landmarks.detector import SIZE_UNIT, STRIDE, DetectorNet
from fewshot_reenact.landmarks.network import PointNet
from fewshot_reenact.models.onnx_graphs import Graph, Port


class _Measuring(nn.Module):
    def __init__(self, network: PointNet):
        super().__init__()
        self.network = network

    def forward(self, crop: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.network.measure(crop)


def detector_graph(network: DetectorNet) -> Graph:
    """Where faces may be, for pictures of any size."""
    holds = (
        f"for each cell of {STRIDE} pixels a logit, the logarithm of the face's size over {SIZE_UNIT:g} pixels, and "
        "left eye, right eye and mouth as offsets (x, y) from the cell's middle, in face sizes"
    )
    return Graph(
        "detector",
        "finds faces; of a large picture it sees a level of about 640 x 360 pixels and one of a third of that",
        network,
        (Port("picture", ("batch", 3, "height", "width"), "RGB, -1..1, sides multiples of 32"),),
        (Port("cells", ("batch", 8, "height/8", "width/8"), holds),),
    )


def points_graph(network: PointNet) -> Graph:
    """The points of a face, and how sure they are."""
    return Graph(
        "points",
        "measures a face in an upright crop, which eyes and mouth give (geometry/align.py)",
        _Measuring(network),
        (Port("crop", ("batch", 3, CROP, CROP), "RGB, -1..1"),),
        (
            Port("points", ("batch", N_POINTS, 2), "x and y, pixels of the crop"),
            Port("logit", ("batch",), "above 0: a face, and the points are right"),
            Port("spread", ("batch", N_POINTS), "how far apart the places lie that seem possible, pixels of the crop"),
        ),
    )
