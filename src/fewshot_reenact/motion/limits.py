"""What a motion file may hold at the most, whatever its kind: files may come from strangers."""

MAX_FRAMES = 1_000_000  # 9 hours at 30 frames a second, 664 MB of points
MAX_SIDE = 100_000  # pixels
MAX_FILE = 1 << 30  # bytes of a file that is read whole
MAX_LINE = 1 << 16  # characters of a line; a frame of 83 points has 3,000
SLOWEST, FASTEST = 0.01, 1000  # frames a second
SMALLEST_FACE = 1.0  # pixels between the outer corners of the eyes
