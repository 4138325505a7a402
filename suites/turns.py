"""Tests that share one measurement: their points are measured in turns, and each has its own verdict."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Protocol, TypeVar

import pytest

from base.errors import DeviceLost
from records.model import RunResult
from workloads.bench import Bench
from workloads.turns import NotAvailable


class Measured(Protocol):
    """What was measured of one point, and the error that cut it short."""

    error: BaseException | None


P = TypeVar("P")
M = TypeVar("M", bound=Measured)


def chosen(request: pytest.FixtureRequest, argument: str) -> list[Any]:
    """Return the values of a parametrised argument with which tests of this function were selected."""
    siblings = (item for item in request.session.items if isinstance(item, pytest.Function))
    return [item.callspec.params[argument] for item in siblings if item.function is request.function]


@contextmanager
def recorded_even_if_broken_off(
    bench: Bench, measured: Mapping[P, M], results: Callable[[P], Sequence[RunResult]]
) -> Iterator[None]:
    """Record what each point has by then when the phone is lost or somebody stops the run.

    The points then have that error, so that no other test takes them for measured.
    """
    try:
        yield
    except BaseException as error:
        for point, found in measured.items():
            if found.error is None:
                for result in results(point):
                    with suppress(DeviceLost):
                        bench.record(result)
                found.error = error
        raise


def skip_or_raise(error: BaseException | None) -> None:
    """Skip a test whose point is not available, and raise any other error of its point."""
    if isinstance(error, NotAvailable):
        pytest.skip(str(error))
    if error is not None:
        raise error
