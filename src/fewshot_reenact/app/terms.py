"""What visitors of the page may ask for, what they can choose from, and what their outputs are marked with."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from fewshot_reenact.errors import UsageError
from fewshot_reenact.files import as_file
from fewshot_reenact.inputs.driver import DriverSource
from fewshot_reenact.media.file_types import is_video
from fewshot_reenact.media.reader import VideoReader
from fewshot_reenact.models.checkpoint import load_model
from fewshot_reenact.models.hub import is_on_hub
from fewshot_reenact.pipelines.options import AnimateOptions
from fewshot_reenact.provenance.keys import read_credentials
from fewshot_reenact.provenance.watermark_key import read_watermark_key


@dataclass(frozen=True)
class Limits:
    """What one visitor may ask for. upload_mb: of one file. seconds: of a video. portraits: pictures of one person."""

    upload_mb: int = 2000
    seconds: float = 600.0
    portraits: int = 32

    def check(self, portraits: Sequence[str], driver: str, options: AnimateOptions) -> None:
        """Raises UsageError: more than that."""
        self.check_pictures(len(portraits), "portraits")
        for portrait in portraits:
            self.check_length(portrait, "the portrait")
        if DriverSource.parse(driver).is_video:
            self.check_length(driver, "the driver", options)

    def check_pictures(self, count: int, what: str) -> None:
        """Raises UsageError: too many of one person."""
        if count > self.portraits:
            raise UsageError(f"{count} {what}: this page takes {self.portraits}; put in fewer")

    def check_length(self, path: str | Path, what: str, options: AnimateOptions | None = None) -> None:
        """Raises UsageError: it is a video that lasts longer. options: what part of it counts; None: all."""
        if not is_video(path):
            return
        chosen = options or AnimateOptions(any_size=True)
        with VideoReader(path, any_size=chosen.any_size) as reader:
            length = float(reader.info.duration or 0)
        length = min(length, (chosen.end or length)) - (chosen.start or 0.0)
        if length > self.seconds:
            advice = "cut it" if options is None else "set start and end"
            raise UsageError(f"{what} lasts {length:.0f} s: this page takes {self.seconds:g} s; {advice}")


@dataclass(frozen=True)
class Offer:
    """What whoever serves the page lets visitors choose from, and gives them.

    local: nobody but this machine's user reaches the page, who then can choose what uses the network or much memory.
    models: weights besides the built-in ones, by the names that visitors see. sign_cert, sign_key, watermark_key: files
    for all outputs, see AnimateOptions; visitors neither name nor see them.
    """

    local: bool = False
    models: Mapping[str, str] = field(default_factory=dict)
    sign_cert: Path | None = None
    sign_key: Path | None = None
    watermark_key: Path | None = None

    def marked(self, options: AnimateOptions) -> AnimateOptions:
        """The options of a visitor, with these files."""
        return replace(options, sign_cert=self.sign_cert, sign_key=self.sign_key, watermark_key=self.watermark_key)

    def check(self) -> list[str]:
        """Reads all of it, before anybody asks for it; returns what the server's user should know. Raises UsageError,
        InputError, ModelError.
        """
        if (self.sign_cert is None) != (self.sign_key is None):
            raise UsageError("--sign-cert and --sign-key go together: give both, or neither for a key made here")
        if self.sign_cert is not None and self.sign_key is not None:
            read_credentials(self.sign_cert, self.sign_key)
        for given in self.models.values():
            load_model(given)
        return [] if self.watermark_key is None else read_watermark_key(self.watermark_key)[1]

    def nameless(self, text: str, folder: Path) -> str:
        """The text with the names alone of these files, and of those beneath a folder: where they lie is not the
        visitors' business.
        """
        for path in (*self.models.values(), self.sign_cert, self.sign_key, self.watermark_key):
            if path is not None and not is_on_hub(path):
                text = text.replace(str(path), Path(path).name)
        return re.sub(re.escape(str(folder)) + r"[/\\](?:[^/\\\s\"':;]+[/\\])*", "", text)


def named_models(given: Sequence[str]) -> dict[str, str]:
    """Models by names for visitors: the file's, without folders; "hf:OWNER/NAME" as it is. Raises UsageError: two have
    one name.
    """
    named: dict[str, str] = {}
    for model in given:
        name = model if is_on_hub(model) else Path(model).name
        if name in named:
            raise UsageError(f"--model {model}: another one has this name; name one of the files otherwise")
        named[name] = model if is_on_hub(model) else str(as_file(model))
    return named
