"""The records of the fake probe's result files, and what it says of them (probe/records.c)."""

from __future__ import annotations

from typing import Any

import numpy as np


def _of_u64(*names: str) -> np.dtype[np.void]:
    return np.dtype([(name, "<u8") for name in names])


SAMPLE = np.dtype([("t_ns", "<u8"), ("ns", "<u8"), ("page", "<u4"), ("label", "<u2"), ("ahead", "<u2")])
MEMORY_SAMPLE = _of_u64(
    "t_ns", "available_kib", "zram_used_kib", "swap_used_kib", "written_back_4k", "psi_some_permille",
    "psi_full_permille",
)  # fmt: skip
ROUND = _of_u64("t_ns", "end_ns", "pages_4k", "errnum")
EXTENT = _of_u64("logical", "physical", "bytes")
_ROWS = {
    "switches": (
        "app", "t_ns", "latency_ns", "kind", "majflt", "flash_4k", "swapped", "slowest_ns", "corrupt", "control_ns"
    ),
    "deaths": ("app", "t_ns", "pid", "signal"),
}  # fmt: skip


def described() -> dict[str, Any]:
    """Return the fields that ``describe`` answers with."""
    records = {"sample": SAMPLE, "memory_sample": MEMORY_SAMPLE, "round": ROUND, "extent": EXTENT}
    return {
        "records": {
            name: {
                "bytes": dtype.itemsize,
                "fields": {
                    key: {"offset": field[1], "bytes": field[0].itemsize} for key, field in (dtype.fields or {}).items()
                },
            }
            for name, dtype in records.items()
        },
        "rows": {name: list(row) for name, row in _ROWS.items()},
    }
