"""``denoiser run``: the job that denoises."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from denoiser import weights
from denoiser.batch import auto, page
from denoiser.batch.flow import Stop
from denoiser.batch.items import Destination, Item, Plan
from denoiser.batch.options import RunOptions
from denoiser.batch.pipeline import Pipeline
from denoiser.batch.report import Report
from denoiser.batch.samples import picture
from denoiser.batch.session import Session
from denoiser.batch.shared import Shared
from denoiser.batch.stores import is_address
from denoiser.batch.verification import Verification, Verifier, combined
from denoiser.batch.writing import Writer
from denoiser.errors import UsageError
from denoiser.progress import Progress, Silent
from denoiser.settings import as_path, as_paths

if TYPE_CHECKING:
    from denoiser.batch.auto import Network
    from denoiser.inference import Denoiser

LITTLE_MEMORY = 1 << 26
"""Budget below which the user is told what it costs: two pictures of 5 MP took 131 s with 32 MiB, 19 s with 64 and 9 s
with 256."""


def run(
    inputs: str | Path | Sequence[str | Path],
    output: str | Path,
    options: RunOptions | None = None,
    progress: Progress | None = None,
    denoiser: Denoiser | None = None,
    stop: Stop | None = None,
) -> Report:
    """Denoise files and directories into a directory, or one file into a file.

    Finished files are remembered in ``output/.denoiser`` and skipped by the next run. No input is ever
    written to, and every output appears whole under its name or not at all. Outputs get the usual
    permissions of new files and the time of their making.

    Parameters
    ----------
    inputs : str, Path or sequence of these
        Files, directories (read with all that lies below, mirrored below ``output``), globs, and
        ``@file`` for a list of these.
    output : str or Path
        A directory, which is made where it is missing; or a file, if the input is one file. Inputs and output may
        also be addresses in object stores, such as ``s3://bucket/photos``.
    options : RunOptions, optional
    progress : Progress, optional
        Is told how far the work is; nobody is by default.
    denoiser : Denoiser, optional
        Used instead of ``options.model`` and its device and precision.
    stop : Stop, optional
        Lets a signal handler or another thread end the run early.

    Returns
    -------
    Report
        What became of every file. Failures of single files, a full disk and a stop are told there:
        look at ``exit_code``.

    Raises
    ------
    UsageError
        If two inputs would share an output, or an output would overwrite an input.
    UnavailableError
        If the model or the device is not there.
    OutputError
        If nothing can be written below ``output``.
    LockedError
        If another run is writing there.
    """
    files = as_paths("INPUT", inputs)
    options = options or RunOptions()
    progress, stop = progress or Silent(), stop or Stop()
    path = None if options.dry_run else options.report
    if path is not None:
        page.check(path)
    if any(is_address(each) for each in (*files, as_path("OUT", output))):
        from denoiser.batch import staging

        report = staging.run(files, output, options, progress, denoiser, stop)
    else:
        report = RunSession(files, Destination.of(output), options, progress, denoiser, stop).execute()
    if path is not None:
        page.write(path, report)
    return report


class RunSession(Session):
    """The job with its network, which is built when there is something to do."""

    def __init__(
        self,
        inputs: Sequence[str | Path],
        destination: Destination,
        options: RunOptions,
        progress: Progress,
        denoiser: Denoiser | None,
        stop: Stop,
    ) -> None:
        # An unknown model is an error before anything else is looked at.
        super().__init__(inputs, destination, options, options.key(_identity(options, denoiser)), progress, stop)
        self.options: RunOptions = options
        self.denoiser: Network | None = denoiser
        self.given = denoiser is not None
        self.chooses = options.model == weights.AUTO and not self.given and not options.copies
        self.verifications: list[Verification] = []
        if options.save_uncertainty is not None:
            _check_uncertainty(options, denoiser)
        self.devices: list[str] = []
        self.told: Mapping[str, str | int] = {}
        if self.given and options.spreads:
            raise UsageError("a model that is loaded stays in its process; name it by options.model to use several")

    @property
    def verb(self) -> str:
        return "copying" if self.options.copies else "denoising"

    def _prepare(self, plan: Plan) -> None:
        if self.options.spreads:
            self._look_around()
        elif not self.options.copies:
            self._network()

    def _look_around(self) -> None:
        """Make sure that other processes can do the work, as far as that can be told from here."""
        from denoiser.inference import devices

        if self.options.backend == "dask":
            from denoiser.batch import cluster

            cluster.require()
        else:
            self.devices = devices.expand(self.options.device)
        for name in weights.names(self.options.model):
            weights.load(name)

    def _estimate(self, plan: Plan) -> float | None:
        if self.options.copies or self.options.spreads:
            return None
        return plan.megapixels / self._speed()

    def _speed(self) -> float:
        from denoiser.inference.trial import megapixels_per_second

        network = self._network()
        return megapixels_per_second(network.first if isinstance(network, auto.Chooser) else network)

    def _writer(self, owner: str) -> Writer:
        o = self.options
        return Writer(self.destination.root, owner, self._own_manifest(), o, self.key, o.controls)

    def _engine(self) -> Mapping[str, str | int]:
        return self.denoiser.describe() if self.denoiser is not None else self.told

    def _network(self) -> Network:
        if self.denoiser is None:
            self.denoiser = self._build(self.options.precision)
            told = ", ".join(f"{key} {value}" for key, value in self.denoiser.describe().items())
            self.progress.note(told, "debug")
            if self._memory() < LITTLE_MEMORY:
                self.progress.note(
                    f"{self._memory() / 2**20:.3g} MiB leave room for narrow windows alone, most of which is overlap: "
                    "larger pictures may take ten times as long as with 128MiB (--max-memory)",
                    "warning",
                )
        return self.denoiser

    def _build(self, precision: str) -> Network:
        from denoiser.inference import InferenceOptions, devices
        from denoiser.inference.auto import load

        # On the CPU the network shares the budget with the pictures in flight; a device has memory of its own.
        on_cpu = devices.resolve(self.options.device).type == "cpu"
        o = self.options
        # Networks between which auto chooses share the processors, and so what they need: each has all of it.
        memory = max(1, self._memory() // 2) if on_cpu else o.max_memory
        options = InferenceOptions(o.device, precision, o.tile, o.halo, o.batch, memory, o.ensemble)
        networks = load(o.model, options)
        return auto.Chooser(networks) if o.model == weights.AUTO else networks[o.model]

    def _fallback(self) -> Network | None:
        """The same network in fp32, for files that fail their check in half precision."""
        if self.given or self.denoiser is None or self.denoiser.describe().get("precision") == "fp32":
            return None
        return self._build("fp32")

    def _memory(self) -> int:
        if self.options.max_memory is not None or self.options.copies or self.given:
            return super()._memory()
        from denoiser.inference import devices

        return devices.free_memory(devices.resolve("cpu")) // 2

    def _passes(self, shared: Shared, work: Sequence[Item]) -> None:
        """Do the work here, or have it done by other processes."""
        if self.options.samples:
            work = picture(work, page.PICTURES)
        if not self.options.spreads:
            self._pass_here(shared, work)
        elif self.options.backend == "dask":
            from denoiser.batch import cluster

            self.error, self.told = cluster.execute(shared, work)
        else:
            from denoiser.batch import processes

            self.error, self.told = processes.execute(shared, work, self.devices)

    def _pass_here(self, shared: Shared, work: Sequence[Item]) -> None:
        """The pass over all files, and a second one in full precision over those that failed their check."""
        network = None if self.options.copies else self.denoiser
        half = network is not None and not self.given and network.describe().get("precision") != "fp32"
        first = self._pass(shared, work, network, half)
        if first.again and self.error is None and self.stop.code is None:
            self.progress.note(f"{len(first.again)} files failed their check and are done again in fp32", "warning")
            with self.stop.abruptly():
                network = self._fallback()
            self._pass(shared, first.again, network)

    def _pass(
        self, shared: Shared, work: Sequence[Item], network: Network | None, second_try: bool = False
    ) -> Pipeline:
        """One pass, and what is to be verified of it."""
        wanted = self.options.verify_tiles if network is not None else 0
        verifier = Verifier(wanted, network) if wanted and network is not None else None
        done = Pipeline(shared, work, network, second_try, verifier)
        done.execute()
        self.error = done.error
        if verifier is not None and self.error is None and self.stop.code is None:
            with self.stop.abruptly():
                self.verifications.append(verifier.check(self.options))
        return done

    def _verification(self) -> Verification | None:
        if not self.options.verify_tiles or self.options.dry_run:
            return None
        return combined(self.verifications) if self.verifications else Verification()


def _identity(options: RunOptions, denoiser: Denoiser | None) -> str:
    """What stands for the weights in the key of an output."""
    if denoiser is not None:
        if not hasattr(denoiser, "describe"):
            raise UsageError(
                "denoiser must be one network; to have one chosen for each file, give options.model 'auto'"
            )
        return json.dumps({**denoiser.describe(), "weights": denoiser.weights_hash()}, sort_keys=True, default=str)
    return weights.model_hash(options.model)


def _check_uncertainty(options: RunOptions, denoiser: Denoiser | None) -> None:
    from denoiser.inference import uncertainty

    if denoiser is None:
        for name in weights.names(options.model):
            uncertainty.check_model(name)
    else:
        uncertainty.check(denoiser.needs, str(denoiser.describe()["model"]))
