"""Tests that share one measurement: their points are measured in turns, each has a verdict of its own."""

from __future__ import annotations

from typing import Any

import pytest

from devices.errors import LabError
from workloads.turns import NotAvailable


def chosen(request: pytest.FixtureRequest, argument: str) -> list[Any]:
    """The values of a parametrised argument with which the tests of this function were selected."""
    siblings = (item for item in request.session.items if isinstance(item, pytest.Function))
    return [item.callspec.params[argument] for item in siblings if item.function is request.function]


def skip_or_raise(error: LabError | None) -> None:
    """What one point's error is for its test."""
    if isinstance(error, NotAvailable):
        pytest.skip(str(error))
    if error is not None:
        raise error
