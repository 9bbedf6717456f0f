"""How long work tells how far it is, without knowing who watches.

Core functions take a :class:`Progress`; the command line passes one that draws bars, tests and
notebooks pass :class:`Silent`. Nothing is imported here but the standard library.
"""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Receives news of a long job. Every method may be called from any thread."""

    def start(self, files: int, megapixels: float, what: str) -> None:
        """The job begins: so many files and megapixels are to be done; ``what`` is a verb."""
        ...

    def advance(self, files: int = 0, megapixels: float = 0.0) -> None:
        """So much more is done (a band of a large file advances megapixels alone)."""
        ...

    def note(self, message: str, level: str = "info") -> None:
        """Something worth telling: ``debug``, ``info``, ``warning`` or ``error``."""
        ...

    def finish(self) -> None:
        """The job has ended, well or not."""
        ...


class Silent:
    """A Progress that tells nobody."""

    def start(self, files: int, megapixels: float, what: str) -> None:
        pass

    def advance(self, files: int = 0, megapixels: float = 0.0) -> None:
        pass

    def note(self, message: str, level: str = "info") -> None:
        pass

    def finish(self) -> None:
        pass
