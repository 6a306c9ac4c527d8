"""Sessions that are kept: the next job with the same portrait and options finds everything loaded."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from fewshot_reenact.pipelines.networks import Networks
from fewshot_reenact.pipelines.options import AnimateOptions
from fewshot_reenact.pipelines.session import Session

Portrait = str | Path | Sequence[str | Path]


def same_session(portrait: Portrait, options: AnimateOptions) -> str:
    """A text that is the same for jobs that one session can do."""
    return json.dumps([portrait, options.as_data()], default=str)


class Sessions:
    """One session at a time, and networks for all: for one thread."""

    def __init__(self) -> None:
        self._session: Session | None = None
        self._for = ""
        self._networks: dict[str, Networks] = {}

    def open(self, portrait: Portrait, options: AnimateOptions) -> Session:
        """The session of before if it is of the same portrait and options, else a new one in its place. Raises what
        Session does.
        """
        wanted = same_session(portrait, options)
        if self._session is None or self._for != wanted:
            self.close()
            kind = json.dumps([str(options.model), str(options.landmarks), options.device, options.runtime])
            self._session = Session(portrait, options, networks=self._networks.get(kind))
            self._for = wanted
            if self._session.networks.model is not None:  # a fine-tuned person's are that person's alone
                self._networks[kind] = self._session.networks
        return self._session

    def close(self) -> None:
        """Give the session back; the networks stay."""
        if self._session is not None:
            self._session.close()
            self._session = None
