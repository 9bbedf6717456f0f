from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from denoiser.batch.flow import AHEAD, Budget, Cancelled, Lease, Stop
from denoiser.errors import ExitCode


def waits(action: Callable[[], object]) -> tuple[threading.Thread, list[object]]:
    """Run an action that should wait; it still waits after a moment."""
    got: list[object] = []

    def run() -> None:
        try:
            got.append(action())
        except Cancelled as error:
            got.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(0.05)
    assert thread.is_alive()
    return thread, got


def ends(waiting: tuple[threading.Thread, list[object]]) -> object:
    thread, got = waiting
    thread.join(5)
    assert not thread.is_alive()
    return got[0]


def test_room_is_given_until_it_is_used_up() -> None:
    budget = Budget(100)
    first = budget.lease(60, 0)
    waiting = waits(lambda: budget.lease(60, 0))
    first.release()
    first.release()
    assert isinstance(ends(waiting), Lease)
    assert budget.used == 60
    assert budget.peak == 60


def test_files_ahead_leave_half_to_the_one_that_is_computed() -> None:
    budget = Budget(100)
    budget.lease(40, 0)
    waiting = waits(lambda: budget.lease(20, 1))
    budget.lease(60, 0)
    budget.begin(1)
    assert budget.used == 100
    budget.cancel()
    assert isinstance(ends(waiting), Cancelled)


def test_files_are_not_read_far_ahead_where_there_is_room_for_it() -> None:
    budget = Budget(1000, ahead=100)
    budget.lease(80, 0)
    waiting = waits(lambda: budget.lease(30, 1))
    budget.lease(60, 0)
    assert waiting[0].is_alive()
    budget.begin(1)
    assert isinstance(ends(waiting), Lease)


def test_something_too_large_passes_alone() -> None:
    budget = Budget(100)
    small = budget.lease(1, 0)
    waiting = waits(lambda: budget.lease(1000, 0))
    small.release()
    assert isinstance(ends(waiting), Lease)


def test_a_starved_network_gets_its_piece_only_when_no_writer_can_make_room() -> None:
    budget = Budget(100)
    computed, written = budget.lease(50, 0), budget.lease(50, 0)
    written.hand_over()
    waiting = waits(lambda: budget.lease(30, 0))
    budget.want(0)
    assert waiting[0].is_alive()
    written.release()
    assert isinstance(ends(waiting), Lease)
    budget.satisfied(0)
    waiting = waits(lambda: budget.lease(90, 0))
    budget.want(7)
    assert waiting[0].is_alive()
    budget.want(0)
    assert isinstance(ends(waiting), Lease)
    computed.release()


def test_readers_do_not_run_ahead_without_end() -> None:
    budget = Budget(10**9)
    budget.lease(1, AHEAD)
    waiting = waits(lambda: budget.lease(1, AHEAD + 1))
    budget.begin(1)
    assert isinstance(ends(waiting), Lease)


def test_the_first_request_to_stop_counts() -> None:
    stop = Stop()
    assert stop.code is None
    stop.request(ExitCode.TERMINATED)
    stop.request(ExitCode.INTERRUPTED)
    assert stop.code is ExitCode.TERMINATED


def test_a_cancelled_budget_gives_nothing() -> None:
    budget = Budget(10)
    budget.cancel()
    with pytest.raises(Cancelled):
        budget.lease(1, 0)
