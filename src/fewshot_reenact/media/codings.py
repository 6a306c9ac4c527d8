"""In which coding a video is written: H.264 in MP4, or, where frames have transparency, ProRes 4444 or VP9."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import av

from fewshot_reenact.errors import UsageError

# Not MKV or WebM: their clocks tick in milliseconds, so 30000/1001 could not be exact.
VIDEO_OUTPUTS = (".mp4", ".m4v", ".mov")
# WebM all the same: pages in a browser show no other video with transparency.
TRANSPARENT_OUTPUTS = (".mov", ".webm")


@dataclass(frozen=True)
class Coding:
    """codec, pixels: FFmpeg's names of the encoder and of its pixel format. container: its format, and movflags of it.
    options: the encoder's. sound: "aac" or "opus", what other sound is made into.
    """

    codec: str
    pixels: str
    container: str
    options: dict[str, str]
    flags: dict[str, str]
    sound: Literal["aac", "opus"] = "aac"

    @property
    def transparent(self) -> bool:
        """Whether frames are (H, W, 4), their transparency last."""
        return self.pixels.startswith("yuva")

    def check(self) -> None:
        """Raises UsageError if this installation cannot write it."""
        try:
            av.codec.Codec(self.codec, "w")
        except Exception as error:
            known = {"libx264": "H.264", "prores_ks": "ProRes", "libvpx-vp9": "VP9"}[self.codec]
            raise UsageError(
                f"this build of PyAV cannot write {known}; reinstall it with: pip install --force av"
            ) from error


def coding_of(suffix: str, transparent: bool = False, crf: float = 18, preset: str = "veryfast") -> Coding:
    """How a file with this suffix, one of the lists above, is written. crf, preset: of H.264."""
    # QuickTime's own tags know no description; with this flag it holds tags of any name.
    quicktime = {"movflags": "+faststart+use_metadata_tags"}
    if not transparent:
        # B-frames are off, see `Encoder`.
        options = {"preset": preset, "crf": f"{crf:g}", "bf": "0"}
        container = "mov" if suffix == ".mov" else "mp4"
        return Coding("libx264", "yuv420p", container, options, quicktime if suffix == ".mov" else _FAST_START)
    if suffix == ".mov":
        return Coding("prores_ks", "yuva444p10le", "mov", {"profile": "4444", "alpha_bits": "16"}, quicktime)
    # VP9 knows no transparency in its hidden frames (auto-alt-ref).
    options = {"crf": "20", "b": "0", "deadline": "good", "cpu-used": "4", "row-mt": "1", "auto-alt-ref": "0"}
    return Coding("libvpx-vp9", "yuva420p", "webm", options, {}, "opus")


_FAST_START = {"movflags": "+faststart"}
