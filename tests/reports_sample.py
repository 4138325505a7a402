"""A deterministic run as the suites write it, for the tests of reports and for looking at a report."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from base.units import MIB
from records import model
from records.writing import RunFolder

NOW = datetime(2026, 11, 23, 10, 15, 0, tzinfo=UTC)
RATES = {1: 7.0, 2: 12.9, 4: 22.0, 8: 34.0, 16: 44.5, 32: 50.1, 64: 52.2, 128: 54.6}


def provenance(**changes: Any) -> model.Provenance:
    """A virtual phone's, with what the caller wants otherwise."""
    fields: dict[str, Any] = {
        "serial": "127.0.0.1:16555",
        "device": "virtual",
        "manufacturer": "QEMU",
        "model": "virtual phone",
        "build": "zramlab/virtual/virtual:15/20261123/eng",
        "kernel_release": "7.3.4+deb13-amd64",
        "kernel_build": "#1 SMP PREEMPT_DYNAMIC Debian 7.3.4-1~bpo13+1 (2026-11-11)",
        "arch": "x86_64",
        "page_size_bytes": 4096,
        "ram_bytes": 2 << 30,
        "cpus": 2,
        "ufs": {"vendor": "QEMU", "model": "QEMU HARDDISK", "specification_version": "0x0400"},
        "zram_attributes": ["backing_dev", "bd_stat", "idle", "writeback", "writeback_batch_size", "writeback_limit"],
        "capabilities": ["writeback", "writeback_batch_size", "idle_age", "page_indexes"],
        "zram": {"device": "zram0", "disksize": "1GiB", "comp_algorithm": "lzo-rle"},
        "backing": {
            "kind": "loop",
            "file_system": "f2fs",
            "size_bytes": 512 * MIB,
            "direct_io": True,
            "block_size": 4096,
        },
        "profile": "virtual",
        "profile_sha256": "5f1d" * 16,
        "virtual": True,
        "accelerator": "tcg",
        "git_commit": "0123456789abcdef0123456789abcdef01234567",
        "tool_versions": {"python": "3.11.2", "adb": "36.0.0", "probe": "3f2a9c"},
        "host": {"os": "Debian GNU/Linux 12", "cpus": 2, "cpu": "AMD EPYC"},
        "root_style": "su-c",
        "selinux": None,
    }
    return model.Provenance(**(fields | changes))


def session(run_id: str = "20261123T101500Z-virtual", **changes: Any) -> model.Session:
    """The first record."""
    return model.Session(
        run_id=run_id,
        started_utc="2026-11-23T10:15:00Z",
        plan="quick",
        seed=1,
        requested=["suites"],
        provenance=provenance(**changes),
        caveats=[],
    )


def throughput(
    batch: int | None,
    order: str,
    rates: Sequence[float],
    *,
    data: int = 32 * MIB,
    pages: str = "incompressible",
    **more: Any,
) -> model.RunResult:
    """One point of the sweep whose repeats ran at these rates, in MiB/s."""
    mib = data / MIB
    wall = [mib / rate for rate in rates]
    written = [data // 4096] * len(rates)
    fields: dict[str, Any] = {
        "checks": {"bd_stat writes": {"expected": sum(written), "seen": sum(written)}},
        "warmups": {"writeback.throughput": model.Metric("MiB/s", "higher", [min(rates) / 4])},
        "facts": {"loop_dio": True},
    }
    return model.RunResult(
        test="writeback_throughput",
        title="Writing pages back is measured for every batch size",
        params={"batch_size": batch, "data_bytes": data, "pages": pages, "order": order},
        metrics={
            "writeback.throughput": model.Metric("MiB/s", "higher", list(rates)),
            "writeback.wall": model.Metric("s", "lower", wall),
            "writeback.user_cpu": model.Metric("s", "lower", [0.0] * len(rates)),
            "writeback.sys_cpu": model.Metric("s", "lower", [0.42 + 0.1 * each for each in wall]),
            "writeback.written": model.Metric("pages", "higher", written),
        },
        **(fields | more),
    )


def faults(folder: RunFolder, slot: str, median_us: float, samples: int = 20_000, **more: Any) -> model.RunResult:
    """Latencies with a long tail around a median, their samples stored."""
    random = np.random.default_rng(len(slot))
    latency = median_us * 1000 * np.exp(0.18 * random.standard_normal(samples))
    slow = random.random(samples) < 0.004
    latency[slow] *= random.uniform(3, 25, slow.sum())
    return model.RunResult(
        test="fault_latency",
        title="A fault on a written-back page is compared with one on a page in RAM",
        params={"slot": slot, "comp_algorithm": "lzo-rle"},
        metrics={"fault.major": model.Metric("count", "lower", [samples])},
        raw={"fault.latency": folder.save_raw(f"fault.latency-{slot}", latency.astype(np.uint64))},
        checks={
            "bd_stat reads": {"expected": samples if slot != "ram" else 0, "seen": samples if slot != "ram" else 0}
        },
        facts={"probe_overhead_ns": {"median": 61, "p99": 95}},
        **more,
    )


def integrity(path: str, corrupt: int = 0) -> model.RunResult:
    """Pages checked through one path."""
    return model.RunResult(
        test="data_integrity",
        title="Every page comes back as it was written",
        params={"path": path},
        metrics={
            "integrity.corrupt": model.Metric("pages", "lower", [corrupt]),
            "integrity.pages": model.Metric("pages", "higher", [8192]),
        },
    )


OUTCOMES = (
    model.TestOutcome(
        "suites/test_writeback_throughput.py::test_sweep", "Writeback throughput by batch size", "passed", "", 96.4
    ),
    model.TestOutcome(
        "suites/test_fault_latency.py::test_price", "The price of a fault on a written-back page", "passed", "", 31.2
    ),
    model.TestOutcome(
        "suites/test_data_integrity.py::test_swap", "Every page comes back as it was written", "passed", "", 12.9
    ),
    model.TestOutcome(
        "suites/test_batch_size_attribute.py::test_grammar", "The batch size takes 1 to 4096", "passed", "", 1.8
    ),
    model.TestOutcome(
        "suites/test_recompress.py::test_ratio",
        "Recompression saves memory",
        "skipped",
        "recompress: not on this phone",
        0.01,
    ),
)
WALL_TIME: Mapping[str, float] = {
    "total": 178.0,
    "phone": 139.0,
    "wire": 9.1,
    "host": 6.2,
    "boot": 22.5,
    "image_build": 0.0,
}


More = Callable[[RunFolder], Iterable[model.RunResult]]


def write_run(results: Path, *, end: bool = True, more: More | None = None, **changes: Any) -> Path:
    """A whole quick run on the virtual phone: two page types, two slot orders, eight batch sizes, five repeats.

    ``more`` makes further records, for a run of more tests.
    """
    folder = RunFolder.create(results, "virtual", NOW)
    folder.append(session(folder.run_id, **changes))
    random = np.random.default_rng(7)
    for pages, factor in (("incompressible", 1.0), ("mixed", 0.86)):
        for order, gain in (("random", 1.0), ("sequential", 1.06)):
            for batch, rate in RATES.items():
                rates = (rate * factor * gain * (1 + 0.03 * random.standard_normal(5))).tolist()
                if batch == 8 and order == "random":
                    rates[0] /= 3
                folder.append(throughput(batch, order, rates, pages=pages))
    folder.append(faults(folder, "ram", 80.0))
    folder.append(faults(folder, "written_back", 490.0, 2_000))
    folder.append(integrity("swap"))
    folder.append(integrity("block"))
    folder.append(
        model.RunResult(
            "batch_size_attribute",
            "The batch size takes 1 to 4096",
            {},
            {},
            facts={"default": 32, "refused": ["0", "-1"]},
        )
    )
    for result in more(folder) if more else ():
        folder.append(result)
    for outcome in OUTCOMES:
        folder.append(outcome)
    if end:
        folder.append(model.End(0, "2026-11-23T10:17:58Z", WALL_TIME))
    return folder.path
