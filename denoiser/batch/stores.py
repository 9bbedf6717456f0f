"""Object stores: ``s3://bucket/photos`` and the like, through fsspec.

In the stores named here an object appears under its key when it is complete and not before, so nothing partial is
ever seen and no temporary names are needed.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from denoiser.batch.manifest import Stamp
from denoiser.errors import InputError, OutputError, UnavailableError, UsageError

PROTOCOLS = {
    "s3": "'image-denoiser[s3]'",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "az": "adlfs",
    "abfs": "adlfs",
    "memory": "fsspec",
}
"""Stores by the beginning of their addresses, and what is to be installed for each."""

PAUSES = (0.1, 0.3, 1.0, 3.0)
"""Seconds to wait before a request that failed is made again."""

TIMES = ("LastModified", "updated", "last_modified", "created", "mtime")
"""Names that clients give to the time of an object's last change."""

T = TypeVar("T")


def is_address(text: str | Path) -> bool:
    """Whether an argument names something in a store."""
    return "://" in str(text)


class Address(PurePosixPath):
    """The address of an object, shown with both of its slashes."""

    def __str__(self) -> str:
        return super().__str__().replace(":/", "://", 1)


@dataclass(frozen=True)
class Store:
    """A place in a store, and all below it.

    Attributes
    ----------
    system : fsspec.AbstractFileSystem
    protocol, base : str
        ``s3`` and ``bucket/photos``.
    """

    system: Any
    protocol: str
    base: str

    @classmethod
    def of(cls, address: str) -> Store:
        """The store of an address.

        Raises
        ------
        UsageError
            If its protocol is not known here.
        UnavailableError
            If its client is not installed.
        """
        protocol, _, base = address.partition("://")
        if protocol not in PROTOCOLS:
            known = ", ".join(f"{each}://" for each in PROTOCOLS)
            raise UsageError(f"{address}: stores of this kind are not known, there are {known}; mount it as a folder")
        if set("*?[") & set(base):
            raise UsageError(f"{address}: globs are not looked up in stores; give the folder, and --include")
        import fsspec

        try:
            system = fsspec.filesystem(protocol)
        except ImportError as error:
            remedy = f"pip install {PROTOCOLS[protocol]}"
            raise UnavailableError(f"{address}: needs a client that is not installed: {remedy}") from error
        return cls(system, protocol, base.strip("/"))

    def address(self, relative: str = "") -> Address:
        """The address of what lies at ``relative`` below the base."""
        return Address(f"{self.protocol}://{self._key(relative)}")

    def _key(self, relative: str) -> str:
        return f"{self.base}/{relative}".rstrip("/")

    def listing(self) -> dict[str, Stamp]:
        """Objects by their place below the base; one object that is the base itself has the place ``""``.

        Raises
        ------
        InputError
            If the store cannot be read, or a key is no path.
        """
        self.system.invalidate_cache()
        try:
            found = again(lambda: self.system.find(self.base, detail=True))
        except faults() as error:
            raise InputError(f"{self.address()}: cannot be listed ({told(error)})") from error
        places = {}
        for key, info in found.items():
            place = key.lstrip("/")[len(self.base) :].removeprefix("/")
            if key.endswith("/"):
                continue  # what consoles make to show an empty folder
            if {"", ".", ".."} & set(place.split("/")) and place:
                raise InputError(f"{self.address()}/{place}: a key that is no path of a file; rename it")
            places[place] = Stamp(int(info["size"]), _nanoseconds(info))
        return places

    def get(self, relative: str, path: Path, stamp: Stamp) -> None:
        """Bring an object into a file, which gets its time.

        Raises
        ------
        InputError
            If it cannot be read, or is not of the size that was listed.
        """
        try:
            again(lambda: self.system.get_file(self._key(relative), str(path)))
        except faults() as error:
            raise InputError(f"cannot be read ({told(error)})") from error
        if path.stat().st_size != stamp.size:
            raise InputError("changed while it was read; the next run does it again")
        os.utime(path, ns=(stamp.mtime_ns, stamp.mtime_ns))

    def put(self, path: Path, relative: str) -> Stamp:
        """Make an object of a file, and give its size and time in the store.

        Raises
        ------
        OutputError
            If it cannot be written, nor will the next one.
        """
        key = self._key(relative)
        try:
            again(lambda: self.system.put_file(str(path), key))
            self.system.invalidate_cache()
            info = again(lambda: self.system.info(key))
        except faults() as error:
            raise OutputError(f"{self.address(relative)}: cannot be written ({told(error)})") from error
        if info["size"] != path.stat().st_size:
            raise OutputError(f"{self.address(relative)}: is not complete in the store, or another run writes there")
        return Stamp(int(info["size"]), _nanoseconds(info))

    def remove(self, relative: str) -> None:
        """Remove an object, if it is there."""
        try:
            again(lambda: self.system.rm_file(self._key(relative)))
        except FileNotFoundError:
            pass
        except faults() as error:
            raise OutputError(f"{self.address(relative)}: cannot be removed ({told(error)})") from error


def again(request: Callable[[], T]) -> T:
    """Make a request, and make it again where it failed for a reason that may pass."""
    for pause in PAUSES:
        try:
            return request()
        except (FileNotFoundError, PermissionError):
            raise
        except faults():
            time.sleep(pause)
    return request()


def faults() -> tuple[type[Exception], ...]:
    """What clients raise when a request fails: not all of it is an OSError."""
    found: list[type[Exception]] = [OSError]
    for module, name in (("botocore.exceptions", "BotoCoreError"), ("aiohttp", "ClientError")):
        if module in sys.modules:
            found.append(getattr(sys.modules[module], name))
    return tuple(found)


def told(error: Exception) -> str:
    """A fault in words."""
    return " ".join(str(error).split()) or type(error).__name__


def _nanoseconds(info: dict[str, Any]) -> int:
    """The time of an object's last change; 0 where the store does not tell."""
    value = next((info[name] for name in TIMES if info.get(name) is not None), None)
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    if isinstance(value, datetime):
        value = (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    return int(value * 1e9) if isinstance(value, int | float) else 0
