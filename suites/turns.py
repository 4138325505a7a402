"""Tests that share one measurement: their points are visited in rounds, and each has its own verdict."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import pytest

from base.errors import DeviceLost
from records.model import RunResult
from workloads.bench import Bench
from workloads.rounds import Rounds
from workloads.turns import NotAvailable

P = TypeVar("P")
V = TypeVar("V")


def chosen(request: pytest.FixtureRequest, argument: str) -> list[Any]:
    """Return the values of a parametrised argument with which tests of this function were selected."""
    siblings = (item for item in request.session.items if isinstance(item, pytest.Function))
    return [item.callspec.params[argument] for item in siblings if item.function is request.function]


@contextmanager
def recorded_even_if_broken_off(bench: Bench, results: Callable[[], Sequence[RunResult]]) -> Iterator[None]:
    """Record what there is by then when the phone is lost, or somebody stops the run, within this scope."""
    try:
        yield
    except BaseException:
        for result in results():
            with suppress(DeviceLost):
                bench.record(result)
        raise


@dataclass(slots=True)
class SharedRounds(Generic[P, V]):
    """Rounds that the tests of several points share: the test that runs first measures all of them."""

    rounds: Rounds[P, V] = field(default_factory=Rounds)
    begun: bool = False
    broken_off: BaseException | None = None

    @contextmanager
    def measuring(
        self, bench: Bench, points: Sequence[P], results: Callable[[P], Sequence[RunResult]]
    ) -> Iterator[Rounds[P, V]]:
        """Yield the rounds to be filled; record what they hold when the phone is lost or somebody stops the run.

        No test then takes its point for measured.
        """

        def known() -> list[RunResult]:
            left = [point for point in points if point not in self.rounds.failed]
            return [result for point in left for result in results(point)]

        self.begun = True
        try:
            with recorded_even_if_broken_off(bench, known):
                yield self.rounds
        except BaseException as error:
            self.broken_off = error
            raise

    def skip_or_raise(self, point: P) -> None:
        """Skip a test whose point is not available, and raise any other error of its point."""
        error = self.rounds.failed.get(point) or self.broken_off
        if isinstance(error, NotAvailable):
            pytest.skip(str(error))
        if error is not None:
            raise error
