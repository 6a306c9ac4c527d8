"""All who have the page open."""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path

import numpy as np

from fewshot_reenact.app.faces import faces_in
from fewshot_reenact.app.terms import Limits, Offer
from fewshot_reenact.app.visitor import Visitor
from fewshot_reenact.errors import ReenactError
from fewshot_reenact.inputs.driver import DriverSource
from fewshot_reenact.landmarks.backend import LandmarkBackend
from fewshot_reenact.landmarks.builtin import BuiltinLandmarks
from fewshot_reenact.pipelines.sessions import Sessions


class Visitors:
    """All of them, by the name of their page's session. folder: holds everything."""

    def __init__(self, folder: Path, limits: Limits | None = None, offer: Offer | None = None) -> None:
        self.folder, self.limits, self.offer = folder, limits or Limits(), offer or Offer()
        folder.mkdir(exist_ok=True)
        self._known: dict[str, Visitor] = {}
        self._sessions, self._turn, self._lock = Sessions(), threading.Lock(), threading.Lock()
        self._backend: LandmarkBackend | None = None
        self._looking = threading.Lock()

    def of(self, name: str | None) -> Visitor:
        """The visitor of this name, new or known."""
        with self._lock:
            key = name or ""
            if key not in self._known:
                folder = Path(tempfile.mkdtemp(prefix="visitor-", dir=self.folder))
                self._known[key] = Visitor(folder, self.limits, self._sessions, self._turn, self.offer)
            return self._known[key]

    def several_faces(
        self, file: str | None, *, start: float | None = None, mirror: bool = False
    ) -> tuple[np.ndarray, list[tuple[int, int, int, int]]] | None:
        """Of a portrait or a driver, where more than one face is in it; see faces_in. start, mirror: of a driver."""
        if not file:
            return None
        try:
            source = DriverSource.parse(file, start=start, mirror=mirror)
        except ReenactError:
            return None  # said by whoever uses it
        with self._looking:
            self._backend = self._backend or BuiltinLandmarks()
            return faces_in(source, self._backend)

    def nameless(self, text: str) -> str:
        """See Offer.nameless."""
        return self.offer.nameless(text, self.folder)

    def leave(self, name: str | None) -> None:
        """The visitor's page was closed."""
        with self._lock:
            visitor = self._known.pop(name or "", None)
            others = {file for other in self._known.values() for file in other.put_in}
        if visitor is not None:
            visitor.close(self.folder, others)

    def close(self) -> None:
        """The page is served no more."""
        for name in list(self._known):
            self.leave(name)
        self._sessions.close()
