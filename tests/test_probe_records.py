"""The host's copies of the probe's records against what the probe says of itself."""

from __future__ import annotations

import os
from dataclasses import fields
from typing import Any

import numpy as np
import pytest

from devices.probe.app_replies import AppDeath, AppSwitch
from devices.probe.build import build
from tests.probe_process import Reply, run
from workloads import app_watch, faults, read_parts

DTYPES = {
    "sample": faults.RECORD, "memory_sample": app_watch.SAMPLE, "round": app_watch.WRITEBACK,
    "extent": read_parts.EXTENT,
}  # fmt: skip


@pytest.fixture(scope="module")
def described() -> Reply:
    status, reply = run([str(build(os.uname().machine))], "describe")
    assert status == 0
    return reply


def layout(dtype: np.dtype[np.void]) -> dict[str, Any]:
    """A numpy record in the words of ``describe``. Unsigned and little endian, as all of the probe's are."""
    assert dtype.fields
    assert all(field[0].str.startswith("<u") for field in dtype.fields.values())
    places = {name: {"offset": field[1], "bytes": field[0].itemsize} for name, field in dtype.fields.items()}
    return {"bytes": dtype.itemsize, "fields": places}


def test_every_record_has_its_copy_on_the_host(described: Reply) -> None:
    assert described["records"].keys() == DTYPES.keys()


@pytest.mark.parametrize("name", DTYPES)
def test_a_record_is_read_as_it_is_written(described: Reply, name: str) -> None:
    assert layout(DTYPES[name]) == described["records"][name]


def test_the_rows_of_switches_and_deaths_are_read_in_their_order(described: Reply) -> None:
    assert described["rows"] == {
        "switches": [field.name for field in fields(AppSwitch)],
        "deaths": [field.name for field in fields(AppDeath)],
    }
