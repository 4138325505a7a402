"""What zram's attributes take and refuse, as one table by what the kernel has, and not by its version."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from base.units import MIB
from devices.capability import Capability
from devices.transport import Exec, Write
from devices.zram import Zram, ZramConfig, errno_of, selected
from workloads.attributes import Written
from workloads.bench import Bench
from workloads.regression.findings import Findings
from workloads.regression.own import has, own_zram

_PAGES = 64
_KEPT = ("writeback_limit", "writeback_limit_enable", "writeback_batch_size")

Has = Callable[[Capability], bool]


@dataclass(frozen=True, slots=True)
class GrammarRow:
    """A value written to an attribute, and the errno values that are right: "" is success.

    ``fault`` is what a kernel does that is known and not right: it is recorded with these words and fails nothing.
    """

    attribute: str
    value: str
    right: tuple[str, ...]
    fault: str = ""


def _refused(attribute: str, errno: str, *values: str) -> Iterator[GrammarRow]:
    for value in values:
        yield GrammarRow(attribute, value, (errno,))


def new_device(zram: Zram, file: str, has_it: Has) -> Iterator[GrammarRow]:
    """Yield the rows of a device without a size and without a backing device; ``file`` is a regular file."""
    yield from _refused("disksize", "EINVAL", "0", "abc")
    yield from _refused("reset", "EINVAL", "0", "abc", "-1")
    yield from _refused("idle", "EINVAL", "all")
    yield from _refused("writeback", "EINVAL", "idle", "bogus")
    yield from _refused("compact", "EINVAL", "1")
    yield from _refused("mem_used_max", "EINVAL", "1")
    yield from _refused("mem_limit", "EINVAL", "abc")
    yield from _refused("comp_algorithm", "EINVAL", "nosuch")
    yield from _refused("writeback_limit", "EINVAL", "-1", "abc")
    yield from _refused("writeback_limit_enable", "EINVAL", "abc")
    yield from _refused("backing_dev", "ENOENT", "/nowhere/at/all")
    yield from _refused("backing_dev", "ENOTBLK", file, "/dev/null")
    # Never its own node: an older kernel takes it, and then neither resets nor removes a zram that it holds itself.
    if has_it(Capability.writeback_batch_size):
        yield from _refused("writeback_batch_size", "EINVAL", "0", "-1", "abc", "0x10", "1 2")
        yield from (GrammarRow("writeback_batch_size", value, ("",)) for value in ("1", "128", "32"))
    if has_it(Capability.compressed_writeback):
        yield from _refused("compressed_writeback", "EINVAL", "2")
        yield from (GrammarRow("compressed_writeback", value, ("",)) for value in ("1", "n", "y", "0"))
    yield from (GrammarRow("writeback_limit", value, ("",)) for value in ("16", "0"))
    yield from (GrammarRow("writeback_limit_enable", value, ("",)) for value in ("7", "0"))


def without_backing(zram: Zram, has_it: Has) -> Iterator[GrammarRow]:
    """Yield the rows of a device with a size and no backing device."""
    yield from _refused("writeback", "ENODEV", "idle", "huge", "huge_idle")
    yield from _frozen(zram, has_it)


def _frozen(zram: Zram, has_it: Has) -> Iterator[GrammarRow]:
    yield from _refused("disksize", "EBUSY", "1048576")
    yield from _refused("backing_dev", "EBUSY", "/dev/null")
    # One that there is: a kernel may look at the name first.
    yield from _refused("comp_algorithm", "EBUSY", selected(zram.read("comp_algorithm")))
    if has_it(Capability.compressed_writeback):
        yield from _refused("compressed_writeback", "EBUSY", "1")


def ready_device(zram: Zram, has_it: Has) -> Iterator[GrammarRow]:
    """Yield the rows of a device that can write back and holds nothing."""
    several = has_it(Capability.page_indexes)
    beyond = "ERANGE" if several else "EINVAL"
    yield from (GrammarRow("writeback", value, ("",)) for value in ("idle", "huge", "huge_idle"))
    yield from _refused("writeback", "EINVAL", "bogus", "idle_huge", "page_index=abc", "page_index")
    yield from _refused("writeback", beyond, f"page_index={_PAGES}")
    yield GrammarRow("writeback", "page_index=-1", ("EINVAL", "ERANGE"))
    yield GrammarRow("writeback", f"page_index={_PAGES - 1}", ("",) if has_it(Capability.page_index) else ("EINVAL",))
    yield from _refused("writeback", "EINVAL", "page_indexes=5", "type=bogus")
    yield from _refused("writeback", beyond, "page_indexes=9-3", f"page_indexes=0-{_PAGES}")
    for value in ("type=idle", "type=huge", f"page_indexes=0-{_PAGES - 1}", "page_index=5 page_index=6"):
        yield GrammarRow("writeback", value, ("",) if several else ("EINVAL",))
    yield GrammarRow("writeback", "foo=bar", ("EINVAL",), "an unknown key of writeback is taken without a word")
    yield from _refused("idle", "EINVAL", "bogus", "-1")
    yield GrammarRow("idle", "all", ("",))
    # A kernel that tells nobody how it was built may have ages all the same.
    yield GrammarRow("idle", "5", ("",) if has_it(Capability.idle_age) else ("", "EINVAL"))
    yield from _frozen(zram, has_it)


def grammar(bench: Bench, found: Findings) -> None:
    """Try every row of the table on a new device, on one without a backing device, and on one that is ready."""
    with own_zram(bench, MIB) as own:
        stage, zram = own.stage, own.stage.zram
        rows = 0

        def has_it(capability: Capability) -> bool:
            return has(bench, capability)

        zram.reset()
        rows += _try(own, found, "new", list(new_device(zram, stage.backing.file or "", has_it)))
        zram.configure(ZramConfig(_PAGES * stage.page_bytes))
        rows += _try(own, found, "no backing device", list(without_backing(zram, has_it)))
        stage.as_block_device(_PAGES)
        rows += _try(own, found, "ready", list(ready_device(zram, has_it)))
        _reset_while_open(own, found)
        _kept_over_reset(own, found)
        found.measured("rows of the table", rows, 40)


def _try(bench: Bench, found: Findings, state: str, rows: Sequence[GrammarRow]) -> int:
    zram = bench.stage.zram
    results = bench.stage.device.execute(
        *(Write(zram.attribute(row.attribute), row.value) for row in rows), keep_going=True, seconds=120
    )
    seen = found.facts.setdefault(state, [])
    for row, result in zip(rows, results, strict=True):
        errno = "" if result.ok else errno_of(result.stderr) or result.stderr.strip()
        seen.append(Written(f"{row.attribute}={row.value}", errno, ""))
        if errno in row.right:
            found.same(row.attribute, True, True)
        elif row.fault and errno == "":
            found.kernel(row.fault)
        else:
            found.same(f"{state}: {row.attribute} takes {row.value!r} with", " or ".join(row.right) or "success", errno)
    return len(rows)


def _reset_while_open(bench: Bench, found: Findings) -> None:
    zram = bench.stage.zram
    script = f"exec 3<{zram.node}; echo 1 > {zram.attribute('reset')}"
    result = bench.stage.device.execute(Exec(("sh", "-c", script), accept=(0, 1, 2)))[0]
    found.same("errno of a reset while the device is open", "EBUSY", errno_of(result.stderr))
    found.same("initstate afterwards", "1", zram.read("initstate"))


def _kept_over_reset(bench: Bench, found: Findings) -> None:
    zram = bench.stage.zram
    values = {"writeback_limit": "48", "writeback_limit_enable": "1", "writeback_batch_size": "7"}
    here = [name for name, value in zram.read_many(*_KEPT).items() if value is not None]
    for name in here:
        zram.write(name, values[name])
    zram.reset()
    after = zram.read_many(*here)
    kept = [name for name in here if after[name] == values[name]]
    if kept:
        found.kernel(f"a reset keeps {', '.join(kept)}; the admin guide says that it clears the limit")
    rest = zram.read_many("disksize", "backing_dev", "initstate")
    found.same("the rest after a reset", ["0", "none", "0"], list(rest.values()))
