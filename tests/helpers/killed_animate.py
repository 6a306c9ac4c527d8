"""`reenact animate` in processes that end in the middle. Forked from one that has loaded everything and computed
nothing, as each would take seconds to start.

    killed_animate.py '[{"command": [...], "watermark": 7, "at": ["write", 9], "signal": 9}, ...]'

Prints a line of JSON a run: how it ended, negative for a signal. Pieces have four frames, and eight make a video long.
"""

import json
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from fake_face import PaintedFaces
from fewshot_reenact.cli import main
from fewshot_reenact.landmarks import registry, tracker
from fewshot_reenact.media import segments, writer
from fewshot_reenact.media.muxer import Muxer
from fewshot_reenact.pipelines import unfinished
from fewshot_reenact.provenance import marks

PLACES: dict[str, tuple[Any, str]] = {
    "track": (tracker.Tracker, "update"),
    "write": (writer.VideoWriter, "write"),
    "close": (segments.Segments, "close"),
    "join": (segments.SegmentedEncoder, "_join"),
    "mux": (Muxer, "put"),
    "sign": (marks.StandardMarks, "finish"),
}


def short_pieces() -> None:
    """Real ones take minutes to render."""
    segments.SEGMENT, unfinished.LONG = 4, 8


def die_at(place: str, number: int, by: int) -> None:
    """At call `number`, from 0, of what stands in PLACES."""
    owner, name = PLACES[place]
    before, calls = getattr(owner, name), [0]

    def call(*given: Any, **named: Any) -> Any:
        if calls[0] == number:
            os.kill(os.getpid(), by)
        calls[0] += 1
        return before(*given, **named)

    setattr(owner, name, call)


def child(run: dict[str, Any], said: int) -> None:
    os.dup2(said, 1)
    os.dup2(said, 2)
    registry.BACKENDS["builtin"] = lambda device: PaintedFaces()
    marks.secrets.randbits = lambda bits: run["watermark"]
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it would be ignored, as it should be
    short_pieces()
    if "at" in run:
        die_at(*run["at"], run["signal"])
    try:
        main(run["command"])
    except SystemExit as stop:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(stop.code if isinstance(stop.code, int) else 0)
    os._exit(99)


for one in json.loads(sys.argv[1]):
    with tempfile.TemporaryFile() as text:
        pid = os.fork()
        if pid == 0:
            child(one, text.fileno())
        ended = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        text.seek(0)
        print(json.dumps({"ended": ended, "said": text.read().decode()}), flush=True)
