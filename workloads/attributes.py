"""What zram's writeback attributes take, refuse and mean."""

from __future__ import annotations

from dataclasses import dataclass

from base.kernel import DEFAULT_BATCH_SIZE
from devices.probe.session import ProbeSession
from devices.profiles.sections import PageKind
from devices.transport import Read, Write
from devices.zram import ZramError, errno_of
from workloads.stage import Stage


@dataclass(frozen=True, slots=True)
class Written:
    """One write to an attribute: what it said and what the attribute reads afterwards."""

    value: str
    errno: str
    reads: str


def try_values(stage: Stage, attribute: str, values: tuple[str, ...], put_back: str) -> list[Written]:
    """Each value written and read back, in one round trip; the attribute is ``put_back`` at the end.

    Never used with a batch size above 4096 (T3); ``Zram.write`` refuses that, so this does too.
    """
    path = stage.zram.attribute(attribute)
    if attribute == "writeback_batch_size" and any(v.isdigit() and int(v) > 4096 for v in values):
        raise ZramError(f"{path}: a batch size above 4096 is never written")
    ops = [op for value in values for op in (Write(path, value), Read(path))]
    results = stage.device.execute(*ops, Write(path, put_back), keep_going=True)
    pairs = zip(values, results[0:-1:2], results[1:-1:2], strict=True)
    return [Written(v, "" if w.ok else errno_of(w.stderr) or w.stderr.strip(), r.text) for v, w, r in pairs]


@dataclass(frozen=True, slots=True)
class LimitRun:
    """One writeback under a limit, all in units of 4 KiB."""

    batch_size: int | None
    limit_4k: int
    written_4k: int
    left_4k: int
    errno: str


def write_back_under_limit(
    stage: Stage, probe: ProbeSession, *, pages: int, limit_4k: int, batch_size: int | None, seed: int
) -> tuple[LimitRun, LimitRun]:
    """A budget smaller than the data, spent; then the limit switched off and the rest written."""
    stage.as_block_device(pages)
    stage.set_batch_size(batch_size)
    probe.fill_device(stage.all_pages(pages), mix=PageKind.incompressible.mix, seed=seed)
    stage.zram.write("idle", "all")
    stage.zram.write("writeback_limit", str(limit_4k))
    stage.zram.write("writeback_limit_enable", "1")
    limited = _write_back(stage, probe, batch_size, limit_4k)
    stage.zram.write("writeback_limit_enable", "0")
    rest = _write_back(stage, probe, batch_size, limit_4k)
    stage.zram.write("writeback_limit", "0")
    stage.set_batch_size(DEFAULT_BATCH_SIZE if batch_size else None)
    return limited, rest


def _write_back(stage: Stage, probe: ProbeSession, batch_size: int | None, limit_4k: int) -> LimitRun:
    path = stage.zram.attribute("writeback")
    reply = probe.write_timed(path, "idle", zram=stage.zram.number, seconds=300)
    left = int(stage.zram.read("writeback_limit"))
    return LimitRun(batch_size, limit_4k, reply.written_4k, left, reply.errno)
