"""Every option of `animate`, written once: the command line, the page, the manifest and the report read it here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

from fewshot_reenact.errors import UsageError
from fewshot_reenact.landmarks.backend import LandmarkBackend
from fewshot_reenact.landmarks.selection import parse_face
from fewshot_reenact.media.timestamps import rate_of_frames
from fewshot_reenact.motion.pacing import FITS, Fit
from fewshot_reenact.motion.retarget import MotionMode, Region, Retargeting
from fewshot_reenact.provenance.aigc import CHINA, Visible, check_provider

Frame = Literal["full", "crop"]
Audio = Literal["driver", "portrait", "none"]
FRAMES: tuple[str, ...] = get_args(Frame)
AUDIO: tuple[str, ...] = get_args(Audio)
Runtime = Literal["torch", "onnx", "onnx-int8"]
RUNTIMES: tuple[str, ...] = get_args(Runtime)
# By what `finetune` learns: see pipelines.finetune; the last ones are the presets of models.losses.
LOSSES = ("auto", "trained", "textured", "person", "paper-v1", "paper-v2")
CROP_SIZES = (256, 1024)
_LONGEST_PROVIDER = 200  # characters


@dataclass(frozen=True)
class AnimateOptions:
    """How a portrait is animated. Raises UsageError for values that make no sense.

    Transfer:
    motion: "relative", the driver's change from its frame nearest to the portrait, in the portrait's proportions;
        "absolute", the face goes where the driver's is, the driver's picture scaled onto the portrait's.
    region: "all", "expression", "pose", "lips" or "eyes": what moves; None: all of a picture, of a video the
        expression, which then is the driver's in place of its own. strength: 0 to 2, how much.
    travel: 0 to 1, how much of the head's way and of its change of size is taken; relative motion.
    neutral: the portrait's own expression is taken out before it is driven, a smile or an open mouth; relative motion.
    smooth: 0 (as measured) to 1.

    Framing:
    frame: "full", the whole portrait picture with the head moving in it; "crop", a square about the head.
    size: side of the square in pixels, 256 to 1024; only for "crop". A model of kind "paper" makes squares of its own.
    face, driver_face: "largest", or N counted from the left, beginning with 1.
    start, end: seconds of the driver. fps: frames a second, where the driver is a folder of numbered frames.
    mirror: exchange left and right of the driver, filmed by a front camera. any_size: take videos of any size.
    full_size: keep an output larger than H.264 level 5.1 allows, which few players show.
    matte: a picture that is white (or opaque) where the person is, in the first portrait; None: that portrait's own
        transparency, or found by the matte network. background: a colour ("white", "#1e90ff") or a picture, shown
        behind the person, or "transparent", for an alpha channel; None: the portrait's own ground.
    compare: portrait, driver and output side by side. audio: "driver", "portrait" (a video's own) or "none".
    fit: where the portrait is a video and the driver lasts longer or shorter: "shortest", the output ends with the
        first of them; "loop", the shorter begins anew; "stretch", the driver is made as long as the video. None:
        "shortest".
    keep_going: a long video is made in pieces that survive a kill, and goes on where it ended; False: in one piece.

    Compute:
    landmarks: "builtin", "fan", or a LandmarkBackend. model: a safetensors file, or
    "hf:OWNER/NAME[@REV]" of the Hugging Face Hub; None: the built-in one.
    warp_only: leave the networks out, for comparison. dense: also take from a driver's video what its points miss of
        the motion; None: unless warp_only. device: "auto", "cpu", "cuda", "cuda:1", "mps".
    runtime: what computes the networks: "torch"; "onnx", ONNX Runtime, on the CPU, where it is faster; "onnx-int8", the
        same with generator and refiner in int8, faster again, nearly the same pictures, seconds to begin. Both need the
        extra onnx.

    Marking:
    label: the visible label "AI-generated"; "cn": the one in Chinese that GB 45438-2025 asks for, with its metadata.
        Watermark, signature and tags are always there.
    consent: how the person shown agreed, for the signed manifest. consent_file: a statement of theirs, of which the
        manifest has the SHA-256. sign_cert, sign_key: PEM files to sign with, not
        the key made here. embed_thumbnails: small portraits go into the manifest, otherwise only hashes of the inputs.
    private_driver: nothing by which the driver can be recognised goes into the manifest.
    watermark_key: a file made by `reenact keys`, under whose key the watermark is stamped; None: the public one.
    provider: who makes this available, as the manifest names them; None: this tool. timestamp: the address (http or
        https) of an authority that stamps the signature with the time, by RFC 3161; None: nobody is asked.
    """

    motion: MotionMode = "relative"
    frame: Frame = "full"
    size: int = 512
    face: str | int = "largest"
    driver_face: str | int = "largest"
    region: Region | None = None
    strength: float = 1.0
    travel: float = 1.0
    neutral: bool = False
    smooth: float = 0.5
    start: float | None = None
    end: float | None = None
    fps: float | None = None
    mirror: bool = False
    any_size: bool = False
    full_size: bool = False
    matte: str | Path | None = None
    background: str | None = None
    compare: bool = False
    audio: Audio = "driver"
    fit: Fit | None = None
    keep_going: bool = True
    landmarks: str | LandmarkBackend = "builtin"
    model: str | Path | None = None
    warp_only: bool = False
    dense: bool | None = None
    device: str = "auto"
    runtime: Runtime = "torch"
    label: Visible = True
    consent: str | None = None
    consent_file: str | Path | None = None
    sign_cert: str | Path | None = None
    sign_key: str | Path | None = None
    embed_thumbnails: bool = False
    private_driver: bool = False
    watermark_key: str | Path | None = None
    provider: str | None = None
    timestamp: str | None = None

    def __post_init__(self) -> None:
        if self.dense is None:
            object.__setattr__(self, "dense", not self.warp_only)
        _ = self.retargeting
        if self.frame not in FRAMES:
            raise UsageError(f"frame {self.frame!r} is not one of {', '.join(FRAMES)}")
        if not CROP_SIZES[0] <= self.size <= CROP_SIZES[1]:
            raise UsageError(f"size {self.size} is not between {CROP_SIZES[0]} and {CROP_SIZES[1]} pixels")
        if not 0 <= self.smooth <= 1:
            raise UsageError(f"smooth {self.smooth} is not between 0 and 1")
        if self.audio not in AUDIO:
            raise UsageError(f"audio {self.audio!r} is not one of {', '.join(AUDIO)}")
        if self.fit not in (None, *FITS):
            raise UsageError(f"fit {self.fit!r} is not one of {', '.join(FITS)}")
        if not isinstance(self.keep_going, bool):
            raise UsageError(f"keep_going {self.keep_going!r} is not true or false")
        if self.runtime not in RUNTIMES:
            raise UsageError(f"runtime {self.runtime!r} is not one of {', '.join(RUNTIMES)}")
        if self.runtime != "torch" and self.device not in ("auto", "cpu"):
            raise UsageError(f"runtime {self.runtime!r} computes on the CPU: leave out device {self.device!r}")
        self._check_marks()
        rate_of_frames(self.fps)
        parse_face(self.face)
        parse_face(self.driver_face)

    def _check_marks(self) -> None:
        if self.label not in (True, False, CHINA):
            raise UsageError(f"label {self.label!r} is not true, false or {CHINA!r}")
        if self.provider is not None and (not self.provider.strip() or not self.provider.isprintable()):
            raise UsageError("the provider's name is empty or has control characters in it; write plain text")
        if self.provider is not None and len(self.provider) > _LONGEST_PROVIDER:
            raise UsageError(f"the provider's name is longer than {_LONGEST_PROVIDER} characters")
        if not isinstance(self.private_driver, bool):
            raise UsageError(f"private_driver {self.private_driver!r} is not true or false")
        if self.private_driver and self.compare:
            raise UsageError("--compare shows the driver, which --private-driver keeps to yourself: leave one out")
        if self.label == CHINA:
            check_provider(self.provider)
        if self.timestamp is not None and not re.fullmatch(r"https?://[^\s/]+(/[!-~]*)?", self.timestamp):
            raise UsageError(f"--timestamp {self.timestamp}: is no address; it begins with http:// or https://")

    @property
    def retargeting(self) -> Retargeting:
        """How motion is transferred."""
        return Retargeting(self.motion, self.region or "all", self.strength, self.travel, self.neutral)

    def for_picture(self) -> AnimateOptions:
        """As they count where the portrait is no video. Raises UsageError for what concerns videos alone."""
        if self.fit is not None:
            raise UsageError("--fit is for a video as the portrait; a picture lasts as long as its driver")
        if self.audio == "portrait":
            raise UsageError("--audio portrait is for a video as the portrait; a picture has no sound")
        return replace(self, region=self.region or "all")

    def for_video(self) -> AnimateOptions:
        """As they count where the portrait is a video. Raises UsageError for what concerns pictures alone."""
        if self.motion != "relative":
            raise UsageError("a video as the portrait keeps its own place in its frames: leave out --motion absolute")
        if self.frame != "full":
            raise UsageError("a video as the portrait keeps its own frames: leave out --frame crop")
        for name in ("matte", "background"):
            if getattr(self, name) is not None:
                raise UsageError(f"a video as the portrait keeps its own ground: leave out --{name}")
        if self.embed_thumbnails:
            raise UsageError("a video as the portrait has no thumbnail: leave out --embed-thumbnails")
        return replace(self, region=self.region or "expression", fit=self.fit or "shortest", dense=False)

    @property
    def credentials(self) -> list[Path]:
        """The files of certificates, keys and consent named."""
        named = (self.sign_cert, self.sign_key, self.watermark_key, self.consent_file)
        return [Path(path) for path in named if path is not None]

    @classmethod
    def default(cls, name: str) -> Any:
        """What an option is where nobody sets it."""
        return next(field.default for field in fields(cls) if field.name == name)

    def as_data(self, **more: Any) -> dict[str, Any]:
        """Every option as JSON can hold it."""
        return plain({**more, **{field.name: getattr(self, field.name) for field in fields(self)}})


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as JSON can hold them."""
    return {name: _plain(value) for name, value in values.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)
