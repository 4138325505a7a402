"""Deterministic records of the tests that answer the open questions: depth, faults under way and under load, variants,
compressors, app switches. Shapes as the suites write them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from base.units import MIB
from records import model
from records.writing import RunFolder
from tests import reports_sample as sample

BATCHES = (1, 8, 32, 128)
QUEUE_DEPTH = 32


def metric(unit: str, better: model.Better, *values: float) -> model.Metric:
    return model.Metric(unit, better, list(values))


def depth(batch: int | None, layer: str, **more: Any) -> model.RunResult:
    """In-flight depth as block events show it; no deeper than the batch and, at the disk, its queue."""
    limits = {"batch": batch or 1, "loop3 nr_requests": 128}
    if layer == "disk":
        limits["disk queue_depth"] = QUEUE_DEPTH
    expected = min(limits.values())
    deepest = expected - 1 if layer == "disk" and expected > 8 else expected
    mean = 0.93 * deepest
    shares = np.exp(-0.5 * ((np.arange(deepest + 1) - mean) / (0.12 * deepest + 0.3)) ** 2)
    shares /= shares.sum()
    metrics = {
        "writeback.inflight_mean": metric("requests", "higher", *(mean * f for f in (1.0, 0.99, 1.01, 0.995, 1.005))),
        "writeback.inflight_max": metric("requests", "higher", *[float(deepest)] * 5),
    }
    if layer == "loop":
        rate = sample.RATES[batch or 1]
        metrics["writeback.throughput"] = metric("MiB/s", "higher", *(rate * f for f in (0.93, 0.95, 0.94, 0.92, 0.96)))
        metrics["writeback.throughput_untraced"] = metric(
            "MiB/s", "higher", *(rate * f for f in (1.0, 1.01, 0.99, 1.02, 0.98))
        )
        metrics["trace.cost"] = metric("%", "lower", 7.0, 5.9, 5.1, 9.8, 2.0)
    sync = batch is None
    fields: dict[str, Any] = {
        "checks": {"requests issued (disk statistics)": {"expected": 40960, "seen": 40960}},
        "facts": {
            "how": "block events",
            "device": "loop3" if layer == "loop" else "sda",
            "time_at_depth": {str(level): float(share) for level, share in enumerate(shares)},
            "flags": {"W": 0 if sync else 40960, "WS": 40960 if sync else 0},
            "sync": sync,
            "expected_max": expected,
            "expected_from": limits,
            "verdict": "as expected" if deepest >= expected - 1 else "lower than expected",
        },
    }
    return model.RunResult(
        test="inflight_depth",
        title="Requests in flight are counted from block events",
        params={"batch_size": batch, "layer": layer, "data_bytes": 32 * MIB},
        metrics=metrics,
        **(fields | more),
    )


def latencies(median_us: float, samples: int, seed: int, tail: float = 0.004) -> npt.NDArray[np.uint64]:
    """A log-normal body around a median and a slow tail of this share, in ns."""
    random = np.random.default_rng(seed)
    found = median_us * 1000 * np.exp(0.18 * random.standard_normal(samples))
    slow = random.random(samples) < tail
    found[slow] *= random.uniform(3, 25, int(slow.sum()))
    return found.astype(np.uint64)


def fault_record(
    folder: RunFolder, test: str, title: str, params: dict[str, Any], samples: npt.NDArray[np.uint64], **more: Any
) -> model.RunResult:
    name = "-".join(str(value) for value in params.values())
    raw = {"fault.latency": folder.save_raw(f"{test}-{name}", samples)}
    metrics = {"fault.major": metric("count", "lower", samples.size)}
    return model.RunResult(
        test, title, params, metrics | more.pop("metrics", {}), raw=raw | more.pop("raw", {}), **more
    )


def faults_while_writing_back(folder: RunFolder, samples: int = 4_000) -> Iterator[model.RunResult]:
    """Faults quiet and during a writeback: the tail suffers more than the median."""
    test, title = "fault_latency_writeback", "A fault is timed while a writeback runs"
    rows: list[tuple[str, int | None]] = [("ram", None), *(("ram", batch) for batch in BATCHES)]
    rows += [("written_back", None), *(("written_back", batch) for batch in BATCHES)]
    rows += [("in_flight", batch) for batch in BATCHES]
    for seed, (slot, batch) in enumerate(rows):
        base = {"ram": 80.0, "written_back": 490.0, "in_flight": 150.0}[slot]
        slower = 1.0 if batch is None else 1.02 + 0.09 * np.log2(batch)
        n = samples if slot != "in_flight" else 260
        params = {
            "slot": slot,
            "batch_size": batch,
            "writeback": "quiet" if batch is None else "running",
            "comp_algorithm": "lzo-rle",
        }
        found = latencies(base * slower, n, seed, 0.004 if batch is None else 0.004 + 0.0005 * batch)
        facts = {"share_in_flight": 0.82} if slot == "in_flight" else {}
        yield fault_record(folder, test, title, params, found, facts=facts)


def faults_under_load(folder: RunFolder, samples: int = 3_000) -> Iterator[model.RunResult]:
    """Three backings, four loads, two settings under CPU load; the worker's share where events were to be had."""
    test, title = "fault_latency_load", "A fault is timed while the phone is under load"
    slower = {"none": 1.0, "cpu": 2.6, "random_read": 1.7, "sequential_write": 3.9}
    base = {"loop_direct": 490.0, "loop_buffered": 230.0, "partition": 410.0}
    seed = 100
    for backing, storage in base.items():
        for load, factor in slower.items():
            settings = (
                ("default", "io_realtime", "worker_nice") if load == "cpu" and backing != "partition" else ("default",)
            )
            for setting in settings:
                helped = {"default": 1.0, "io_realtime": 0.97, "worker_nice": 0.7}[setting]
                for slot in ("ram", "written_back"):
                    seed += 1
                    median = (80.0 * (1 + 0.2 * (factor - 1)) if slot == "ram" else storage * factor) * helped
                    params = {
                        "backing": backing,
                        "load": load,
                        "setting": setting,
                        "slot": slot,
                        "comp_algorithm": "lzo-rle",
                    }
                    found = latencies(median, samples, seed, 0.004 * factor)
                    metrics = {} if load == "none" else {
                        "load.bytes": metric("B", "higher", 300.0 * MIB if load != "cpu" else 0.0),
                        "load.cpu_busy": metric("s", "higher", 8.4),
                    }  # fmt: skip
                    raw = {}
                    if slot == "written_back" and backing != "partition":
                        name = f"{backing}-{load}-{setting}"
                        raw = {
                            "fault.disk": folder.save_raw(
                                f"disk-{name}", latencies(storage * 0.6 * factor**0.5, samples, seed)
                            ),
                            "fault.worker": folder.save_raw(
                                f"worker-{name}", latencies(storage * 0.25 * factor, samples, seed)
                            ),
                        }
                    yield fault_record(folder, test, title, params, found, metrics=metrics, raw=raw)


def sweep_metrics(rate: float, repeats: int = 5, data: int = 32 * MIB) -> dict[str, model.Metric]:
    rates = [rate * f for f in (1.0, 1.03, 0.98, 1.01, 0.97)[:repeats]]
    wall = [data / MIB / each for each in rates]
    return {
        "writeback.throughput": metric("MiB/s", "higher", *rates),
        "writeback.wall": metric("s", "lower", *wall),
        "writeback.user_cpu": metric("s", "lower", *[0.0] * repeats),
        "writeback.sys_cpu": metric("s", "lower", *(0.2 + 0.1 * each for each in wall)),
        "writeback.cpu_busy": metric("s", "lower", *(0.5 + 0.2 * each for each in wall)),
        "writeback.context_switches": metric("count", "lower", *[1200.0] * repeats),
        "writeback.written": metric("pages", "higher", *[data / 4096] * repeats),
    }


def backing_variants(folder: RunFolder) -> Iterator[model.RunResult]:
    """Fresh blocks are slower everywhere, a raw partition is fastest."""
    rates = {
        "f2fs file": 50.0,
        "f2fs file, pinned": 52.0,
        "f2fs file, sparse": 31.0,
        "f2fs file, buffered": 71.0,
        "ext4 file": 47.0,
        "partition": 64.0,
    }
    for seed, (variant, rate) in enumerate(rates.items(), 200):
        for blocks, share in (("fresh", 0.45), ("overwritten", 1.0)):
            if variant == "partition" and blocks == "fresh":
                continue
            params = {"variant": variant, "blocks": blocks, "batch_size": 32, "data_bytes": 32 * MIB}
            raw = {}
            if blocks == "overwritten":
                raw = {"fault.latency": folder.save_raw(f"variant-{variant}", latencies(20_000 / rate, 4_000, seed))}
            yield model.RunResult(
                "backing_variant",
                "Kinds of backing device are compared",
                params,
                sweep_metrics(rate * share, repeats=3 if blocks == "fresh" else 5),
                raw=raw,
                checks={"bd_stat writes": {"expected": 8192, "seen": 8192}},
                caveats=[model.Caveat.buffered_io] if "buffered" in variant else [],
                facts={
                    "verified": {
                        "kind": "partition" if variant == "partition" else "loop",
                        "file_system": None if variant == "partition" else variant.split()[0],
                        "size_bytes": 128 * MIB,
                        "allocated_bytes": 0 if "sparse" in variant and blocks == "fresh" else 64 * MIB,
                        "pinned": None if "ext4" in variant or variant == "partition" else "pinned" in variant,
                        "direct_io": "buffered" not in variant,
                        "block_size_bytes": 4096,
                        "disk": "sda",
                        "allocated_bytes_after_first_pass": None if variant == "partition" else 64 * MIB + 8192,
                    }
                },
            )


def compressors(folder: RunFolder) -> Iterator[model.RunResult]:
    """Two software compressors with compressed writeback on and off, and one on a kernel without it."""
    known = {"lzo-rle": (2.71, 50.0, 80.0), "lz4": (2.55, 53.0, 70.0), "zstd": (3.42, 41.0, 210.0)}
    seed = 300
    for name, (ratio, rate, fault) in known.items():
        for compressed in (False, True):
            seed += 1
            params = {
                "comp_algorithm": name,
                "compressed_writeback": compressed,
                "batch_size": 32,
                "data_bytes": 32 * MIB,
            }
            metrics = sweep_metrics(rate * (1.4 if compressed else 1.0)) | {"zram.ratio": metric("x", "higher", ratio)}
            yield model.RunResult("compressor", "Compressors are compared", params, metrics)
            for slot, median in (("ram", fault), ("written_back", 410.0 + (fault if compressed else 0.0))):
                params = {"comp_algorithm": name, "compressed_writeback": compressed, "slot": slot}
                found = latencies(median, 4_000, seed + (50 if slot == "ram" else 0))
                yield fault_record(folder, "compressor_faults", "Faults per compressor", params, found)


APPS = 8
Series = dict[str, npt.NDArray[Any]]


def app_switch(
    folder: RunFolder,
    trigger: str,
    batch: int | None,
    *,
    kills: int,
    alive: int,
    base_ms: float,
    seed: int,
    **more: Any,
) -> model.RunResult:
    """One run of switches between 8 apps over 100 s: mostly warm ones, some after a kill."""
    random = np.random.default_rng(seed)
    series = {
        **_switches(random, base_ms, writes_back=trigger != "off"),
        **_samples(random, alive, writes_back=trigger != "off"),
        "kill.t_ms": np.linspace(45_000, 90_000, kills),
        "kill.app": np.arange(kills),
        "writeback.t_ms": np.arange(28_000, 100_000, 8_000) if trigger != "off" else np.array([]),
        "writeback.pages_4k": np.full(9 if trigger != "off" else 0, 4_000),
    }
    raw = {
        name: folder.save_raw(f"{name}-{trigger}-{batch}", np.asarray(values).astype(np.uint64))
        for name, values in series.items()
    }
    read = int(series["switch.flash_pages"].sum())
    return model.RunResult(
        "app_switch",
        "Switching between apps",
        {"kind": "synthetic", "pattern": "zipf", "writeback": trigger, "batch_size": batch, "apps": APPS},
        _switch_metrics(series, kills, alive),
        raw,
        {},
        {"pages read from flash (bd_stat)": {"expected": read, "seen": read}},
        facts=_switch_facts(kills),
        **more,
    )


def _switches(random: np.random.Generator, base_ms: float, *, writes_back: bool) -> Series:
    n = 60
    kind = random.choice([0, 1, 2], size=n, p=[0.35, 0.55, 0.10])
    kind[:APPS] = 2
    flash = np.where((kind == 1) & writes_back, random.integers(100, 900, n), 0)
    ms = base_ms * np.array([0.2, 1.0, 3.1])[kind] * np.exp(0.25 * random.standard_normal(n)) + flash / 40
    return {
        "switch.t_ms": np.sort(random.integers(500, 100_000, n)),
        "switch.latency_ns": ms * 1e6,
        "switch.app": random.integers(0, APPS, n),
        "switch.kind": kind,
        "switch.majflt": random.integers(200, 4_000, n),
        "switch.flash_pages": flash,
        "switch.kills": (kind == 2).astype(int),
        "switch.slowest_page_ns": ms * 1e4,
        "switch.control_ns": 240_000 * np.exp(0.1 * random.standard_normal(n)),
    }


def _samples(random: np.random.Generator, alive: int, *, writes_back: bool) -> Series:
    clock = np.arange(0, 100_000, 250)
    grown = np.minimum(1.0, clock / 40_000)
    written = np.floor(np.maximum(0, clock - 20_000) / 8_000) * 4_000 * writes_back
    return {
        "sample.t_ms": clock,
        "sample.mem_available_kib": (420 - 330 * grown + 12 * random.standard_normal(clock.size)) * 1024,
        "sample.zram_mem_used_kib": np.maximum(1, 210 * grown - written / 700) * 1024,
        "sample.swap_used_kib": 600 * grown * 1024,
        "sample.written_back_4k": written,
        "sample.alive": APPS - (APPS - alive) * (clock > 60_000),
        "sample.psi_some_permille": 80 * grown,
        "sample.psi_full_permille": 30 * grown,
    }


def _switch_metrics(series: Series, kills: int, alive: int) -> dict[str, model.Metric]:
    mib = float(series["sample.written_back_4k"][-1]) * 4096 / MIB
    metrics = {
        "switch.latency": metric("ms", "lower", *(series["switch.latency_ns"] / 1e6).tolist()),
        "switch.control": metric("ms", "lower", *(series["switch.control_ns"] / 1e6).tolist()),
        "switch.killed": metric("count", "lower", kills),
        "apps.alive": metric("count", "higher", alive),
        "app_switch.written": metric("MiB", "lower", mib * 1.06),
        "zram.mem_used": metric("MiB", "lower", float(series["sample.zram_mem_used_kib"].max()) / 1024),
        "zram.mem_used_mean": metric("MiB", "lower", float(series["sample.zram_mem_used_kib"].mean()) / 1024),
        "memory.available": metric("MiB", "higher", float(series["sample.mem_available_kib"].min()) / 1024),
        "memory.available_mean": metric("MiB", "higher", float(series["sample.mem_available_kib"].mean()) / 1024),
        "refault": metric("count", "lower", 18_000),
    }
    return metrics | ({"app_switch.write_amplification": metric("x", "lower", 1.06)} if mib else {})


def _switch_facts(kills: int) -> dict[str, Any]:
    return {
        "seed": 1,
        "sequence_sha256": "9c1f" * 16,
        "apps": [f"app{i}" for i in range(APPS)],
        "victims": [
            {"app": f"app{i}", "t_ms": 45_000 + 9_000 * i, "reason": "low watermark is breached"} for i in range(kills)
        ],
        "sampler_cpu_share": 0.011,
        "psi_total_us": {"some": 7_400_000, "full": 2_100_000},
        "pswpin": 210_000,
        "pswpout": 260_000,
        "temperature_c": {"before": 31.0, "after": 34.5, "max": 35.1},
        "goal": "first kill",
    }


def app_switches(folder: RunFolder) -> Iterator[model.RunResult]:
    """Without writeback, and by three triggers with two batch sizes each."""
    yield app_switch(folder, "off", None, kills=5, alive=4, base_ms=120.0, seed=400)
    for index, trigger in enumerate(("idle", "background", "periodic")):
        for batch, base in ((1, 112.0), (32, 60.0 if trigger == "idle" else 96.0)):
            yield app_switch(
                folder,
                trigger,
                batch,
                kills=3 - index,
                alive=5 + index,
                base_ms=base,
                seed=410 + 10 * index + batch,
                caveats=[model.Caveat.unstopped_writer] if (trigger, batch) == ("periodic", 1) else [],
            )


def depths() -> Iterator[model.RunResult]:
    """Both layers at every batch size; somebody else traced meanwhile at one point."""
    for batch in BATCHES:
        for layer in ("loop", "disk"):
            caveats = [model.Caveat.other_tracer] if (batch, layer) == (8, "disk") else []
            yield depth(batch, layer, caveats=caveats)


def write_full_run(results: Path, *, end: bool = True, **changes: Any) -> Path:
    """A run of everything: the sweep of ``reports_sample.write_run`` and each further test."""

    def more(folder: RunFolder) -> Iterator[model.RunResult]:
        yield from depths()
        yield from faults_while_writing_back(folder)
        yield from faults_under_load(folder)
        yield from backing_variants(folder)
        yield from compressors(folder)
        yield from app_switches(folder)

    return sample.write_run(results, end=end, more=more, **changes)
