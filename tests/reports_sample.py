"""Records whose figures a test chooses, which no fake phone gives; a run of everything is of tests/produced_run.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from base.units import MIB
from records import model
from records.writing import RunFolder

NOW = datetime(2026, 11, 23, 10, 15, 0, tzinfo=UTC)
US = np.uint64(1000)
# One value a turn; the third turn of each point was disturbed, and measured again.
RATES = {
    1: [7.0, 7.1, 2.0, 6.9, 7.0, 7.1, 6.9, 7.0, 7.0],
    8: [33.9, 34.0, 11.0, 34.1, 34.2, 34.3, 34.0, 33.8, 34.1],
    32: [49.8, 46.3, 9.0, 49.0, 50.0, 50.3, 49.5, 49.9, 50.1],
}
DISTURBED = (2,)
ROUNDS = 8

Samples = npt.NDArray[np.uint64]


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


def session(run_id: str = "20261123T101500Z-virtual", command: str = "", **changes: Any) -> model.Session:
    """The first record; ``changes`` are of the provenance."""
    return model.Session(
        run_id=run_id,
        started_utc="2026-11-23T10:15:00Z",
        plan="quick",
        seed=1,
        requested=["suites"],
        provenance=provenance(**changes),
        caveats=[],
        command=command,
    )


def turns(count: int, disturbed: Sequence[int] = ()) -> list[model.Turn]:
    """So many turns; those with these indices were disturbed, and the next one is of the same round."""
    rounds, made = 0, []
    for index in range(count):
        spoilt = index in disturbed
        reasons = ("waited for a CPU",) if spoilt else ()
        made.append(model.Turn(rounds, 10.0 * index, reasons, 0.4 if spoilt else 0.01, 2_000_000, 310_000))
        rounds += not spoilt
    return made


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
            "writeback.written": model.Metric("4 KiB", "higher", written),
        },
        **(fields | more),
    )


def flat(us: Sequence[int], repeat: int = 1000) -> Samples:
    """Latencies in ns, each of these so many times: quantiles that can be told beforehand."""
    return np.repeat(np.array(us, dtype=np.uint64) * US, repeat)


def fault_record(folder: RunFolder, test: str, params: Mapping[str, Any], samples: Samples) -> model.RunResult:
    """A point whose faults took that long."""
    name = "-".join(str(value) for value in params.values())
    return model.RunResult(test, "t", params, {}, raw={"fault.latency": folder.save_raw(f"{test}-{name}", samples)})


def turned_faults(
    folder: RunFolder, test: str, params: Mapping[str, Any], us: Sequence[int], factors: Sequence[float] = (),
    repeat: int = 100,
) -> model.RunResult:  # fmt: skip
    """A point with a turn a round whose faults took ``us``, times that turn's factor, each of them ``repeat`` times."""
    chosen = factors or [0.98, 1.0, 1.02, 0.99, 1.01, 1.0, 0.99, 1.01][:ROUNDS]
    name = "-".join(str(value) for value in params.values())
    blocks = [(flat(us, repeat) * factor).astype(np.uint64) for factor in chosen]
    index = np.repeat(np.arange(len(blocks), dtype=np.uint64), [block.size for block in blocks])
    raw = {
        "fault.latency": folder.save_raw(f"{test}-{name}", np.concatenate(blocks)),
        "fault.turn": folder.save_raw(f"{test}-{name}-turn", index),
    }
    return model.RunResult(test, "t", params, {}, raw=raw, turns=turns(len(blocks)))


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
    model.TestOutcome("test_writeback_throughput[random]", "Writeback throughput by batch size", "passed", "", 96.4),
    model.TestOutcome("test_fault_latency", "Page fault latency", "passed", "", 31.2),
    model.TestOutcome("test_compressor[842]", "Compressors", "skipped", "842: not on this phone", 0.01),
)
WALL_TIME: Mapping[str, float] = {"total": 178.0, "phone": 139.0, "wire": 9.1, "host": 6.2, "boot": 22.5}


def write_run(results: Path, **changes: Any) -> Path:
    """A small whole run whose figures are known: three batch sizes, faults from RAM and from storage, two paths.

    ``changes`` are of the provenance.
    """
    folder = RunFolder.create(results, "virtual", NOW)
    folder.append(session(folder.run_id, **changes))
    for batch, rates in RATES.items():
        folder.append(throughput(batch, "sparse", rates, turns=turns(len(rates), DISTURBED)))
    for slot, us in (("ram", [80] * 10), ("written_back", [490] * 9 + [1000])):
        folder.append(turned_faults(folder, "fault_latency", {"slot": slot, "comp_algorithm": "lzo-rle"}, us))
    for path in ("swap", "block"):
        folder.append(integrity(path))
    for outcome in OUTCOMES:
        folder.append(outcome)
    folder.append(model.End(0, "2026-11-23T10:17:58Z", WALL_TIME))
    return folder.path
