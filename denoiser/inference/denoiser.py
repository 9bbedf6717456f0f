"""A loaded model on a device: arrays or streams of pieces in, denoised values out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cached_property
from numbers import Real
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import nn

from denoiser.controls import Controls
from denoiser.errors import InputError, UnavailableError, UsageError
from denoiser.images import pixels
from denoiser.images.arrays import as_pages, page_of
from denoiser.images.image import Page
from denoiser.inference import devices, probes, sizing
from denoiser.inference import uncertainty as stating
from denoiser.inference.batching import Piece, all_finite
from denoiser.inference.engine import CpuEngine, Engine, make_engine
from denoiser.inference.network import needs_of
from denoiser.inference.options import InferenceOptions
from denoiser.inference.sizing import Sizing
from denoiser.inference.stream import Down, Lane, Stream
from denoiser.inference.strips import Courses
from denoiser.models.ensemble import Ensemble
from denoiser.models.folding import fold_batchnorm
from denoiser.settings import check_range
from denoiser.tiling import round_up, smallest_tile

if TYPE_CHECKING:
    from denoiser.weights import Card


class _Origin(NamedTuple):
    """Where a piece of an array comes from."""

    page: int
    note: pixels.Note


class Denoiser:
    """A network on a device.

    Building one checks the device: the network's results are compared with a float64 reference, and the
    fastest precision that passes is taken.

    Parameters
    ----------
    module : torch.nn.Module
        ``module(x, white) -> residual`` with ``module.needs``, in fp32; see :mod:`denoiser.models`. Not changed.
    card : Card or None
        What the weights file says of it; None for a network that has none yet.
    options : InferenceOptions
        Device, precision, window and batch sizes, memory.
    beside : Denoiser, optional
        Another network on the same device, with which this one shares the processors: both may have pieces of one
        stream, see :func:`denoiser.inference.auto.stream`.

    Attributes
    ----------
    device : torch.device
    precision : str
        ``fp32``, ``bf16`` or ``fp16``.
    context_rows : int
        Rows above and below a band of a page that the network must see for a result equal to the whole
        page's; a multiple of ``row_multiple``.
    row_multiple : int
        The first row of every band must lie on a multiple of this.
    full_halo : int
        Pixels around a window that no result within depends on any more: the receptive field, rounded up.
    needs_range : bool
        Whether the network knows only pictures whose black and white are known: pieces must have ``white > 0``.

    Raises
    ------
    UnavailableError
        If the device is missing, or cannot compute the network rightly in the precision asked for.
    UsageError
        If the tile is too small for the network.
    """

    def __init__(
        self,
        module: nn.Module,
        card: Card | None = None,
        options: InferenceOptions | None = None,
        beside: Denoiser | None = None,
    ) -> None:
        self.options = options if options is not None else InferenceOptions()
        self.card = card
        module = fold_batchnorm(module)
        if self.options.ensemble > 1:
            module = Ensemble(module, self.options.ensemble)
        self._module = module
        self.needs = needs_of(module)
        self.needs_range = self.needs.needs_range
        self.device = devices.resolve(self.options.device)
        try:
            self._engine: Engine = make_engine(module, self.device, beside._engine if beside is not None else None)
            self.precision, self._deviation = probes.choose_precision(
                module, self.device, self.options.precision, self._engine.network
            )
            devices.release_memory(self.device)
            self._budget = self.options.max_memory or int(devices.free_memory(self.device) * sizing.FREE_SHARE)
            self._sizing = self._size()
        except (RuntimeError, MemoryError) as error:
            raise UnavailableError(f"{self.device} cannot be used ({error}); choose another --device") from error
        self.row_multiple = self.needs.multiple_of
        self.full_halo = round_up(self.needs.receptive_field, self.row_multiple)
        # A network that keeps its rows needs no less, and a user's tiles and halos are done as they say.
        chosen = self.options.tile == "auto" and self.options.halo in ("auto", "exact")
        self._goes_down = chosen and self._engine.network(self.precision).can_flow
        self.context_rows = self.full_halo if self._goes_down else self._sizing.halo

    def _size(self) -> Sizing:
        """Shapes of windows and batches for this network, device and budget."""
        options, multiple = self.options, self.needs.multiple_of
        network = self._engine.network(self.precision)
        on_cpu = self.device.type == "cpu"
        bytes_per_pixel, elements_per_pixel = self._footprint
        room = self._budget * sizing.ACTIVATION_SHARE
        pixels_at_once = room / (bytes_per_pixel * sizing.ALLOCATED)
        # Pictures go row by row only where there is room for that on all processors.
        for_flow = int((room / self._engine.workers - sizing.FLOW_ROWS_BYTES) / sizing.FLOW_BYTES)
        flows = network.can_flow and for_flow > sizing.CPU_WINDOW
        # Few workers with large windows do less work in all than many with small ones, because halos cost less.
        least = sizing.CPU_WINDOW // (8 if network.can_flow else 2)
        self._engine.limit_workers(int(pixels_at_once / least))
        limit = max(1, int(min(pixels_at_once / self._engine.workers, sizing.MOST_ELEMENTS / elements_per_pixel)))
        window_pixels = min(limit, sizing.CPU_WINDOW) if on_cpu else limit
        least_width = smallest_tile(self.needs.receptive_field, multiple)
        found = Sizing(
            tile=options.tile if isinstance(options.tile, int) else None,
            halo=0,
            multiple=multiple,
            window_pixels=min(for_flow, sizing.FLOW_WINDOW) if flows else window_pixels,
            batch_pixels=min(limit, sizing.CPU_BATCH if on_cpu else sizing.GPU_BATCH),
            batch=options.batch if isinstance(options.batch, int) else None,
            whole_batches=not on_cpu,
            never_cut=options.tile == "none",
            widest=max(sizing.FLOW_WIDTH, least_width) if network.can_flow else None,
            widest_part=max(sizing.CUT_WIDTH, least_width) if network.can_flow else None,
        )
        if found.tile is not None:
            # The user's tile stands, whatever the estimate says; if it does not fit, it shrinks then.
            found.window_pixels = max(found.window_pixels, found.tile**2)
        halo = sizing.choose_halo(options, found, self.needs.receptive_field)
        if halo is None:
            halo = probes.effective_halo(network, multiple, round_up(self.needs.receptive_field, multiple))
        found.halo = halo
        sizing.check_tile(found)
        return found

    @property
    def deviation(self) -> probes.Deviation:
        """How far the self-check found the network from its float64 reference."""
        return self._deviation

    def describe(self) -> dict[str, str | int]:
        """How this network is run, for logs and reports: plain values that do not change from run to run."""
        options = self.options
        exact = self._sizing.halo >= self.needs.receptive_field
        told: dict[str, str | int] = {
            "model": self.card.name if self.card is not None else "",
            "device": devices.title(self.device),
            "precision": self.precision,
            "tile": options.tile,
            "halo": self._sizing.halo,
            "tiling": "exact" if exact else "approximate",
            "batch": options.batch,
        }
        return told | ({"ensemble": options.ensemble} if options.ensemble > 1 else {})

    def weights_hash(self) -> str:
        """BLAKE2b-128 of the network's parameters, in hex: what tells two of the same description apart."""
        digest = hashlib.blake2b(digest_size=16)
        for name, value in sorted(self._module.state_dict().items()):
            digest.update(name.encode())
            digest.update(np.ascontiguousarray(value.cpu().numpy()).tobytes())
        return digest.hexdigest()

    def stream(self, pieces: Iterable[Piece]) -> Iterator[tuple[Piece, NDArray[np.float32]]]:
        """Denoise pieces, in order and lazily; windows of many pieces share batches.

        Parameters
        ----------
        pieces : iterable of Piece
            Taken one by one, as far ahead as it needs to fill batches, within the memory budget.

        Yields
        ------
        piece : Piece
            The same object.
        values : ndarray
            (h, W, C) float32 in network units: ``values * scale - residual``, not clipped, without context rows.

        Raises
        ------
        InputError
            If the smallest possible window does not fit into memory.
        """
        return Stream([self.lane()]).results(pieces)

    def lane(self) -> Lane:
        """This network in a stream."""
        most = int(self._budget * sizing.FLIGHT_SHARE)
        enough = min(most, sizing.ENOUGH_IN_FLIGHT[self.device.type])
        return Lane(self._engine, self.device, self._sizing, self._precision_of, enough, most, self._down())

    @cached_property
    def _footprint(self) -> probes.Footprint:
        return probes.footprint(self._engine.network(self.precision), self.needs.multiple_of)

    @cached_property
    def _column_bytes(self) -> float:
        return probes.held_per_column(self._engine.network(self.precision), self.row_multiple)

    def _down(self) -> Down | None:
        if not self._goes_down or not isinstance(self._engine, CpuEngine):
            return None
        courses = Courses(
            self.full_halo,
            self.row_multiple,
            self._engine.workers,
            int(self._budget * sizing.DOWN_SHARE) - sizing.DOWN_BYTES,
            lambda: self._column_bytes,
            self._footprint.bytes_per_pixel * sizing.DOWN_ALLOCATED,
        )
        return Down(self._engine, courses)

    def keeps_rows(self, width: int, parts: int) -> bool:
        """Whether consecutive pieces of one page so wide, of so many parts, cost no more than one of all its rows.

        What is computed for one piece (with a :class:`denoiser.tiling.Sheet`) is then kept for the next. That takes
        most of the budget, and half as much again.
        """
        down = self._down()
        return down is not None and down.courses.fits(width, parts)

    def cuts(self, height: int, width: int) -> bool:
        """Whether a picture of this size is computed in several windows."""
        return len(self._sizing.windows(height, width)) > 1

    def whole(self, piece: Piece) -> NDArray[np.float32]:
        """The result of a piece that is computed as one window, whatever the options say: as :meth:`stream`."""
        sizing = replace(self._sizing, never_cut=True, halo=self.full_halo)
        lane = Lane(self._engine, self.device, sizing, self._precision_of, 0, 0)
        (_, values), *_ = Stream([lane]).results([piece])
        return values

    def _precision_of(self, piece: Piece) -> str:
        turned = self.options.ensemble > 1
        return probes.precision_of(piece, self.precision, self.device, self.needs, turned)

    def denoise(
        self,
        array: NDArray[Any],
        white: float | None = None,
        black: float | None = None,
        sigma: float | None = None,
        strength: float = 1.0,
        alpha: bool = False,
        luma: float = 1.0,
        chroma: float = 1.0,
        detail: float = 0.0,
    ) -> NDArray[Any]:
        """Denoise one picture or a stack of pictures.

        Parameters
        ----------
        array : ndarray
            (H, W), (H, W, C) with C up to 4, or (N, H, W, C), integers or floats. Three channels are taken as colour,
            any other number one by one.
        white, black : float, optional
            Stored values of white and black. Models with ``needs_range`` take the limits of the type of integers, and
            refuse floats without white. The results of others depend on no range, but for that of 8-bit integers.
        sigma : float, optional
            Noise level in units of 1/255 of the full range, for models that take one.
        strength : float
            0 (nothing changes) to 1.
        alpha : bool
            True where the last channel is alpha, which is never denoised.
        luma, chroma : float
            0 to 1: strengths for what changes the luminance, and for what changes the colours alone. Chroma has no
            effect where there are not three channels.
        detail : float
            0 to 1: share of the fine part of the luminance's change that is given back.

        Returns
        -------
        ndarray
            Same shape and dtype. Integers are rounded and clipped; NaN and infinite pixels stay as they are.

        Raises
        ------
        UsageError
            If the array or an option has no meaning.
        InputError
            If values are so large that the network cannot compute them.
        """
        pages = as_pages(array)
        array = np.asarray(array)
        controls = Controls(strength, luma, chroma, detail)
        page = page_of(pages, alpha)
        full_range = self._range(array.dtype, white, black)
        pieces = self._pieces(pages, page, full_range, self._sigma(sigma, full_range))
        result = np.empty_like(pages)
        for origin, values in self._whole_pages(pieces):
            whole = controls.apply(values, origin.note.planes, origin.note.scale)
            result[origin.page] = pixels.join(whole, origin.note, controls.overall)
        return result.reshape(array.shape)

    def uncertainty(
        self, array: NDArray[Any], white: float | None = None, black: float | None = None, alpha: bool = False
    ) -> NDArray[np.float32]:
        """How far the values of ``denoise`` at full strength may be from the truth, by the model's own word.

        Parameters
        ----------
        array, white, black, alpha
            As for :meth:`denoise`.

        Returns
        -------
        ndarray
            float32 standard deviations in the array's units, of the array's shape but without a channel of alpha.
            NaN where a pixel is missing (NaN, infinite), which is not estimated.

        Raises
        ------
        UsageError
            If the model states none (``needs.states_uncertainty``), or the array or an option has no meaning.
        """
        stating.check(self.needs, self.card.name if self.card is not None else "without a name")
        pages = as_pages(array)
        array = np.asarray(array)
        page = page_of(pages, alpha)
        pieces = self._pieces(pages, page, self._range(array.dtype, white, black), 0.0, uncertainty=True)
        colours = page.channels - page.alpha
        result = np.empty((*pages.shape[:3], colours), np.float32)
        for origin, values in self._whole_pages(pieces):
            result[origin.page] = pixels.deviation(values, origin.note)
        return result.reshape(array.shape if array.ndim == 2 else (*array.shape[:-1], colours))

    def _range(self, dtype: np.dtype[Any], white: float | None, black: float | None) -> pixels.ValueRange:
        check_range(white, black)
        full_range = pixels.value_range(dtype, white, black, bounded=self.needs_range)
        if self.needs_range and full_range.white is None:
            raise UsageError(
                "this model works on a known value range only, and floats have none: give white (and black), "
                "for example white=1.0, or use a model such as unet that needs no range"
            )
        return full_range

    def _pieces(
        self, pages: NDArray[Any], page: Page, full_range: pixels.ValueRange, sigma: float, uncertainty: bool = False
    ) -> Iterator[Piece]:
        for index, stored in enumerate(pages if pages.size else ()):
            planes, note = pixels.split(stored, page, full_range)
            tag = _Origin(index, note)
            for channels in pixels.groups(planes.shape[2]):
                part = planes[:, :, channels]
                yield Piece(part, note.scale, note.white, tag=tag, sigma=sigma, uncertainty=uncertainty)

    def _whole_pages(self, pieces: Iterable[Piece]) -> Iterator[tuple[_Origin, NDArray[np.float32]]]:
        """Compute pieces and put them together to pages, (H, W, C)."""
        parts: list[NDArray[np.float32]] = []
        for piece, values in self.stream(pieces):
            origin = piece.tag
            assert isinstance(origin, _Origin)  # from _pieces
            parts.append(values)
            if not all_finite(values):  # what the network sees is finite: missing pixels are filled
                raise InputError(
                    "the network cannot compute values so large: divide the picture by its brightest value, and set "
                    "pixels that hold no data, such as -3.4e38, to NaN"
                )
            if sum(part.shape[2] for part in parts) == origin.note.planes.shape[2]:
                yield origin, np.concatenate(parts, axis=2)
                parts.clear()

    def _sigma(self, sigma: float | None, full_range: pixels.ValueRange) -> float:
        """The noise level in network units."""
        if not self.needs.takes_sigma:
            if sigma is not None:
                raise UsageError("this model finds the noise level by itself and takes no sigma")
            return 0.0
        if not isinstance(sigma, Real) or not sigma >= 0:
            raise UsageError(f"this model needs the noise level: sigma, in units of 1/255 of full range, not {sigma}")
        if full_range.white is None:
            raise UsageError("sigma counts in parts of the full range: for floats, give white as well")
        return sigma / 255
