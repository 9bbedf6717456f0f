"""Bands -> a whole file under its name, or nothing: temporary file, check, sync, manifest line, rename."""

from __future__ import annotations

import errno
import os
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from denoiser.batch import folders, names
from denoiser.batch.checks import Checks
from denoiser.batch.flow import Cancelled
from denoiser.batch.job import CheckError, Job
from denoiser.batch.manifest import Entry, Manifest, Stamp, fingerprint
from denoiser.batch.names import shown
from denoiser.batch.options import BatchOptions
from denoiser.batch.reading import Band, pages_of
from denoiser.batch.samples import Sample
from denoiser.controls import Controls
from denoiser.errors import InputError, OutputError
from denoiser.images import Header, Target, save
from denoiser.images.image import Pixels
from denoiser.images.pixels import deviation, join
from denoiser.lock import FREE, has_ended

OLD_SECONDS = 24 * 3600.0
"""A temporary file of another share, or of a run without a lock, is a dead run's when nobody wrote it for so long."""
FATAL = frozenset(
    {
        errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO,
        errno.ENOTDIR, errno.EEXIST, errno.ENODEV, errno.ENXIO, errno.ESTALE, errno.ENOTCONN,
    }
)  # fmt: skip
"""Errors of an output that the next output would meet as well. Others (a name too long, a file too large for its
file system) belong to one file."""


class Writer:
    """Writes files below one output directory. Used from many threads.

    Parameters
    ----------
    root : Path
    owner : str
        Marks this run's temporary files.
    manifest : Manifest
        Opened.
    options : BatchOptions
    key : str
        Hash of the options that decide an output's bytes.
    controls : Controls, optional
        How much of what the network changed is taken; all by default.
    """

    def __init__(
        self,
        root: Path,
        owner: str,
        manifest: Manifest,
        options: BatchOptions,
        key: str,
        controls: Controls | None = None,
    ) -> None:
        self.root = root
        self.owner = owner
        self.manifest = manifest
        self.options = options
        self.key = key
        self.controls = controls if controls is not None else Controls()
        self._folders: set[Path] = set()
        self._live: set[Path] = set()
        self._lock = threading.Lock()

    def write(self, job: Job) -> None:
        """Pull a job's bands into its output.

        Raises
        ------
        CheckError
            If the output is not fit to be kept.
        OutputError
            If it cannot be written, nor the next one.
        Cancelled
            If the job is abandoned.
        """
        assert job.header is not None and job.item.target is not None
        with self._temporary(job.item.target) as temporary:
            beside = self._beside(job)
            try:
                checks = Checks.of(job.header.pages[0].dtype)
                job.sample = Sample.of(job.header, self.options) if self.options.samples else None
                target = Target(job.form, quality=self.options.quality)
                save(temporary, self._like(job.header), self._pages(job, checks, beside), target)
                self._check(job, checks)
                if job.sample:
                    job.noise = job.sample.noise()
                    job.views = job.sample.views() if job.item.pictured else None
                self._commit(job, temporary, {kind: each.finish() for kind, each in beside.items()})
            finally:
                job.sample = None  # jobs live as long as the run, samples would fill the memory
                for each in beside.values():
                    each.abandon()

    def copy(self, job: Job) -> None:
        """Copy the input byte for byte, a directory file by file. Raises as :meth:`write`."""
        assert job.item.target is not None
        with self._temporary(job.item.target) as temporary:
            for source in folders.files(job.item.source):
                copied = temporary / source.relative_to(job.item.source)
                copied.parent.mkdir(parents=True, exist_ok=True)
                with copied.open("wb") as output:
                    for chunk in _chunks(source):
                        output.write(chunk)
            self._commit(job, temporary, {})

    def _temporary(self, target: Path) -> _Temporary:
        return _Temporary(target, self.owner, self._make_folder, self._live)

    def abandon(self) -> None:
        """Remove the temporary files that are there, when nobody waits for those who write them."""
        for path in list(self._live):
            with suppress(OSError):
                folders.remove(path)

    def _make_folder(self, folder: Path) -> None:
        if folder not in self._folders:
            folder.mkdir(parents=True, exist_ok=True)
            with self._lock:
                self._folders.add(folder)

    def _beside(self, job: Job) -> dict[str, _Beside]:
        assert job.header is not None
        like = Header(job.item.source, "tiff", pages_of(job.header), streams=True)
        return {kind: _Beside(self._temporary(path), like) for kind, path in job.item.beside.items()}

    def _like(self, header: Header) -> Header:
        """What the output is like, besides its pixels: the input."""
        return header

    def _pages(self, job: Job, checks: Checks, beside: dict[str, _Beside]) -> Iterator[Iterator[Pixels]]:
        assert job.header is not None
        for page in job.header.pages:
            yield self._bands(job, page.height, checks, beside)

    def _bands(self, job: Job, height: int, checks: Checks, beside: dict[str, _Beside]) -> Iterator[Pixels]:
        row = 0
        while row < height:
            band = job.outgoing.get()
            if band is None:
                raise Cancelled
            row = band.stop
            try:
                yield self._join(job, band, checks, beside)
            finally:
                band.release()

    def _join(self, job: Job, band: Band, checks: Checks, beside: dict[str, _Beside]) -> Pixels:
        """Restore the stored dtype of one band; look at it on the way."""
        if band.note is None:
            return band.pixels
        results = band.results
        values = results[0] if len(results) == 1 else np.concatenate(results, axis=-1)
        seen = band.note.planes if band.surround is None else band.surround
        values = self.controls.apply(values, seen, band.note.scale, *band.fringe)
        pixels = join(values, band.note, self.controls.overall)
        before, after = band.pixels[..., : values.shape[-1]], pixels[..., : values.shape[-1]]
        checks.add(before, after, values, band.note.missing)
        if "residual" in beside:
            beside["residual"].put(_difference(before, after))
        if "uncertainty" in beside:
            beside["uncertainty"].put(deviation(np.concatenate(band.deviations, axis=-1), band.note))
        if job.sample:
            job.sample.add(band, before, after)
        band.results, band.deviations, band.surround = [], [], None
        band.release()
        return pixels

    def _check(self, job: Job, checks: Checks) -> None:
        if checks.before.count == 0 and checks.finite:
            return  # nothing was computed
        job.checks = checks.figures()
        if problem := checks.problem():
            raise CheckError(f"its result did not pass the check and was thrown away: {problem}")

    def _commit(self, job: Job, temporary: Path, beside: dict[str, Path]) -> None:
        """Give finished files their names. The order of these steps is what makes a kill harmless."""
        item = job.item
        assert item.target is not None
        content = self._content(job)
        output, stamps = _sync(temporary), {kind: _sync(path) for kind, path in beside.items()}
        if not item.replaces and os.path.lexists(item.target):
            raise InputError("its output has appeared while it was computed, from elsewhere; the next run will see it")
        assert job.stamp is not None
        job.claim()
        residual, uncertainty = stamps.get("residual"), stamps.get("uncertainty")
        self.manifest.append(
            Entry(item.place, job.stamp, content, output, self.key, residual, job.figures, uncertainty)
        )
        for kind, path in beside.items():
            os.replace(path, item.beside[kind])
        folders.replace(temporary, item.target, partial(names.temporary, item.target, self.owner))

    def _content(self, job: Job) -> str:
        """Hash of the input, which must still be the one that was read."""
        try:
            content, now = fingerprint(job.item.source)
        except OSError as error:
            raise InputError(f"went away while it was read ({error.strerror})") from error
        if now != job.stamp:
            raise InputError("changed while it was read; the next run does it again (see --min-age)")
        return content

    def sync_folders(self) -> None:
        """Make the new names themselves outlive a power cut, as far as the system can."""
        if os.name == "nt":
            return
        above = {folder for made in self._folders for folder in made.parents if self.root in (folder, *folder.parents)}
        for folder in self._folders | above:
            with suppress(OSError):
                descriptor = os.open(folder, os.O_RDONLY)
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)


class _Temporary:
    """A temporary name beside a target; the file is gone at the end unless it was renamed. A context manager.

    Whatever the system says against writing there becomes an :class:`OutputError` that names the target,
    or an :class:`InputError` where only this file is concerned.
    """

    def __init__(self, target: Path, owner: str, make_folder: Callable[[Path], None], live: set[Path]) -> None:
        self.target = target
        self.path = names.temporary(target, owner)
        self._make_folder = make_folder
        self._live = live

    def __enter__(self) -> Path:
        self._live.add(self.path)
        try:
            self._make_folder(self.path.parent)
        except OSError as error:
            raise output_error(self.target, error) from error
        return self.path

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        with suppress(OSError):
            folders.remove(self.path)
        self._live.discard(self.path)
        if isinstance(error, OSError):
            raise output_error(self.target, error) from error


class _Beside:
    """Writes a float picture beside the output, in a thread of its own: both files are pulled band by band."""

    def __init__(self, temporary: _Temporary, like: Header) -> None:
        self.temporary = temporary
        self.path = temporary.__enter__()
        self._bands: queue.Queue[Pixels | None] = queue.Queue(maxsize=2)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="beside")
        pages = (self._page(page.height) for page in like.pages)
        self._saving = self._thread.submit(save, self.path, like, pages, Target("tiff"))

    def _page(self, height: int) -> Iterator[Pixels]:
        row = 0
        while row < height:
            band = self._bands.get()
            if band is None:
                raise Cancelled
            row += len(band)
            yield band

    def put(self, band: Pixels | None) -> None:
        """The next rows; None abandons the file. Never waits for a thread that has failed."""
        while not self._saving.done():
            with suppress(queue.Full):
                self._bands.put(band, timeout=0.1)
                return

    def finish(self) -> Path:
        """Wait for the file; raise what went wrong with it."""
        try:
            self._saving.result()
        except OSError as error:
            raise output_error(self.temporary.target, error) from error
        return self.path

    def abandon(self) -> None:
        """End the thread and remove what it has written, unless that has its name by now."""
        self.put(None)
        self._thread.shutdown()
        self.temporary.__exit__(None, None, None)


def output_error(target: Path, error: OSError) -> OutputError | InputError:
    """The error of a file, or of the run where the next file would meet it as well."""
    sentence = f"{shown(target)}: cannot be written: {error.strerror or error}"
    return OutputError(sentence) if error.errno in FATAL else InputError(sentence)


def remove_leftovers(targets: Iterable[Path], owner: str | None) -> int:
    """Remove temporary files of dead runs from the directories that the targets lie in.

    Those of ``owner`` are certainly dead, because this run holds the owner's lock, and so are those of all shares where
    it holds the lock of the whole directory; those of runs without a lock are when their process is gone, and others
    when they are a day old. A run without a lock has no ``owner``.
    """
    removed = 0
    for folder in {target.parent for target in targets}:
        try:
            entries = list(os.scandir(folder))
        except OSError:
            continue
        for entry in entries:
            share = names.temporary_share(entry.name)
            if share is None:
                continue
            with suppress(OSError):
                path = Path(entry.path)
                mine = share == owner or (owner == "" and not share.startswith(FREE))
                if mine or has_ended(share) or time.time() - folders.measure(path)[1] / 1e9 > OLD_SECONDS:
                    folders.remove(path)
                    removed += 1
    return removed


def _difference(before: Pixels, after: Pixels) -> NDArray[np.float32]:
    """Input minus output in the input's units; exact before it is rounded to float32."""
    with np.errstate(invalid="ignore"):  # what is missing in the input is missing in the output
        difference = np.subtract(before, after, dtype=np.promote_types(before.dtype, np.float32))
    np.nan_to_num(difference, copy=False, nan=0.0)
    return difference.astype(np.float32, copy=False)


def _chunks(path: Path) -> Iterator[bytes]:
    """A file's bytes; what goes wrong is the input's fault."""
    try:
        with path.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                yield chunk
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})") from error


def _sync(path: Path) -> Stamp:
    """Bring a file's bytes, or a directory's, to the disk; its size and time from then on."""
    return Stamp(*folders.sync(path))
