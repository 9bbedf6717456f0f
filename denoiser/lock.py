"""One run per output directory, held by the operating system: a lock of a dead process never blocks."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import socket
import sys
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from types import TracebackType

import psutil

from denoiser.errors import LockedError, OutputError, shown

STATE = ".denoiser"
"""Directory in an output directory that the lock lies in."""
WINDOWS_OFFSET = 1 << 30
"""Windows locks forbid reading: lock a byte far behind the text, so that others can read who holds it."""

if sys.platform == "win32":
    import msvcrt

    def _acquire(file: int, shared: bool) -> None:
        # There are no shared locks here; shares are kept apart by their own lock alone.
        if not shared:
            os.lseek(file, WINDOWS_OFFSET, os.SEEK_SET)
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _acquire(file: int, shared: bool) -> None:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)


FREE = "free"
"""What the names of temporary files begin with whose run holds no lock."""


def free_share() -> str:
    """The share in temporary names of a run without a lock: it tells which process on which machine it is."""
    return f"{FREE}_{_machine()}_{os.getpid()}"


def has_ended(share: str) -> bool:
    """Whether a run without a lock, by its share, is certainly over: its process, on this machine, is gone."""
    match share.split("_"):
        case [start, machine, pid] if start == FREE and pid.isdecimal():
            return machine == _machine() and not psutil.pid_exists(int(pid))
    return False


@cache
def _machine() -> str:
    """A name for all processes that see each other: of one start of one machine, and of one container."""
    known = [socket.gethostname()]
    with suppress(OSError):
        known.append(Path("/proc/sys/kernel/random/boot_id").read_text())
        known.append(str(Path("/proc/self/ns/pid").stat().st_ino))
    return hashlib.blake2b("/".join(known).encode(), digest_size=4).hexdigest()


UNLOCKED = "give --no-lock if you know that they do not touch the same files"


class NoLocksError(OutputError):
    """The file system of an output directory has no locks."""


class Lock:
    """The lock on an output directory, a context manager.

    A run over all files holds ``lock`` alone. The shares of a sharded run hold ``lock`` together and
    ``lock-<share>`` each alone.

    Parameters
    ----------
    root : Path
        The output directory; it is made where it is missing.
    share : str
        Name of the share, empty for a run over all files.
    instead : str
        What can be done instead of waiting, for the message.

    Raises
    ------
    LockedError
        On entering, if another run holds it.
    NoLocksError
        On entering, if the file system knows no locks.
    OutputError
        On entering, if the directory cannot be written.
    """

    def __init__(self, root: Path, share: str = "", instead: str = UNLOCKED) -> None:
        self.root = root
        self.share = share
        self.instead = instead
        self._files: list[int] = []

    def __enter__(self) -> Lock:
        try:
            (self.root / STATE).mkdir(parents=True, exist_ok=True)
            self._take("lock", shared=bool(self.share))
            if self.share:
                self._take(f"lock-{self.share}", shared=False)
                self._check_others()
        except OSError as error:
            self._release()
            raise OutputError(f"{shown(self.root)}: cannot be written ({error.strerror})") from error
        except BaseException:
            self._release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._release()

    def _take(self, name: str, shared: bool) -> None:
        path = self.root / STATE / name
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        self._files.append(file)
        try:
            _acquire(file, shared)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES, errno.EWOULDBLOCK, errno.EDEADLK):
                raise LockedError(
                    f"{shown(self.root)}: another run is writing there{_holder(path)}; wait for it, or {self.instead}"
                ) from error
            raise NoLocksError(
                f"{shown(self.root)}: its file system has no locks ({error.strerror}); give --no-lock and see to it "
                "that one run at a time writes there"
            ) from error
        record = {"pid": os.getpid(), "host": socket.gethostname(), "started": datetime.now(UTC).isoformat()}
        os.ftruncate(file, 0)
        os.lseek(file, 0, os.SEEK_SET)
        os.write(file, json.dumps(record).encode())

    def _check_others(self) -> None:
        """Shares of another number of shares would do files of this one."""
        number = self.share.partition("of")[2]
        if not number:
            return
        for path in sorted((self.root / STATE).glob("lock-*of*")):
            if path.name.partition("of")[2] == number:
                continue
            file = os.open(path, os.O_RDWR)
            try:
                _acquire(file, shared=True)  # so that shares that look at the same time do not take each other for it
            except OSError as error:
                raise LockedError(
                    f"{shown(self.root)}: a run of share {path.name.removeprefix('lock-').replace('of', ' of ')} is "
                    f"writing there{_holder(path)}, and this one is of {number} shares; wait for it, or {self.instead}"
                ) from error
            finally:
                os.close(file)

    def _release(self) -> None:
        # Closing releases. The file stays: removing it would let two others lock two different files.
        while self._files:
            os.close(self._files.pop())


def _holder(path: Path) -> str:
    """Who holds a lock, for the message; empty where that cannot be told."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        record = json.loads(path.read_bytes())
        return f" (process {record['pid']} on {record['host']}, since {record['started'][:19]} UTC)"
    return ""
