"""Variants of what zram writes back to: the same writebacks and the same faults on each, measured in turns.

Each turn makes a variant anew. Its first writeback meets blocks that nothing was ever written to (``fresh``), the
second one meets the same blocks again (``overwritten``). A partition has no blocks to be allocated; its first writeback
is a warm-up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from base.errors import DeviceError, EnvironmentRefused
from base.units import MIB
from devices.backing import BackingDevice, PinRefused, loop_backing, partition_backing
from devices.device import Changes
from devices.profiles.profile import Profile
from devices.profiles.sections import BackingKind, PageKind
from devices.storage import Disk, disk_below
from devices.transport import Exec
from records import metrics as m
from records import tests as t
from records.model import RunResult
from workloads.bench import Bench
from workloads.faults import READS_CHECK, FaultSamples
from workloads.stage import Stage
from workloads.timed_writeback import TimedWriteback, fill_and_write_back, metrics, writeback_caveats, written_check
from workloads.turns import FaultShares, NotAvailable, in_turns, joined, not_measurable

PAGES = PageKind.incompressible
# F2FS pins whole sections; a file of another size would be rounded up, and only that one.
_SECTION = 2 * MIB
# Of a sparse file some file systems allocate a block for the map of its blocks.
_ALMOST_NOTHING = 64 << 10


@dataclass(frozen=True, slots=True)
class Variant:
    """A point. ``file_system`` is None for a raw partition."""

    name: str
    file_system: str | None
    pinned: bool = False
    allocated: bool = True
    direct_io: bool = True

    @property
    def slug(self) -> str:
        """Return the name in test ids and file names."""
        return self.name.replace(",", "").replace(" ", "-")


VARIANTS = (
    Variant("f2fs file", "f2fs"),
    Variant("f2fs file, pinned", "f2fs", pinned=True),
    Variant("f2fs file, sparse", "f2fs", allocated=False),
    Variant("f2fs file, buffered", "f2fs", direct_io=False),
    Variant("ext4 file", "ext4"),
    Variant("partition", None),
)


@dataclass(slots=True)
class MeasuredVariant:
    """Writebacks by the state of the blocks, shares of faults, and what the variant was found to be."""

    fresh: list[TimedWriteback] = field(default_factory=list)
    overwritten: list[TimedWriteback] = field(default_factory=list)
    faults: list[FaultSamples] = field(default_factory=list)
    verified: dict[str, Any] = field(default_factory=dict)
    error: BaseException | None = None


def path_of(profile: Profile, variant: Variant) -> str:
    """Return the file to make, or the partition. Raises NotAvailable where the profile has none."""
    on_partition = profile.backing.kind is BackingKind.raw_partition
    if variant.file_system is None:
        path = profile.variants.partition or (profile.backing.path if on_partition else None)
        if path is None:
            raise NotAvailable("variants.partition: the profile names none")
        return path
    if variant.file_system == "ext4":
        if profile.variants.ext4 is None:
            raise NotAvailable("variants.ext4: the profile names no path on an ext4 file system")
        return profile.variants.ext4
    if on_partition:
        raise NotAvailable(f"backing.path is a partition, {profile.backing.path}: no place for a file")
    return f"{profile.backing.path}_variant"


def attach(changes: Changes, profile: Profile, variant: Variant, size_bytes: int) -> BackingDevice:
    """Make the variant, attach it as a backing device, and read back that it is what it claims.

    Raises NotAvailable; EnvironmentRefused when it is not what the profile promises; DeviceError when it is not what
    was asked for.
    """
    path = path_of(profile, variant)
    if variant.file_system is None:
        return partition_backing(changes, path)
    try:
        backing = loop_backing(
            changes, path, size_bytes, direct_io=variant.direct_io, block_size=profile.backing.block_size,
            allocate=variant.allocated, pin=variant.pinned,
        )  # fmt: skip
    except PinRefused as error:
        raise NotAvailable(str(error)) from error
    _check(variant, backing, changes.device.serial)
    return backing


def _check(variant: Variant, backing: BackingDevice, serial: str) -> None:
    if backing.file_system != variant.file_system:
        text = f"{serial}: {backing.file} lies on {backing.file_system}, not on {variant.file_system}"
        if variant.file_system == "ext4":
            raise EnvironmentRefused(text, hint="correct variants.ext4 in the profile, or leave it out")
        raise NotAvailable(text)
    allocated = backing.allocated_bytes or 0
    if allocated < backing.size_bytes if variant.allocated else allocated > _ALMOST_NOTHING:
        wanted = "all of it allocated" if variant.allocated else "nothing allocated"
        raise DeviceError(
            f"{serial}: {backing.file}: {wanted} was asked for, the file system has allocated {allocated} of "
            f"{backing.size_bytes} bytes"
        )


@dataclass(frozen=True, slots=True)
class _Turns:
    """What the turns of all variants have in common; ``disks`` remembers what lies below each."""

    bench: Bench
    faults: FaultShares
    disks: dict[Variant, Disk | None] = field(default_factory=dict)

    @property
    def pages(self) -> int:
        return self.bench.stage.pages(self.bench.stage.profile.variants.data)

    @property
    def size_bytes(self) -> int:
        """Return the size of a file, with the block that older kernels leave unused."""
        needed = (max(self.pages, self.faults.share) + 1) * self.bench.stage.page_bytes
        return -(-needed // _SECTION) * _SECTION

    def turn(self, variant: Variant, measured: MeasuredVariant, repeat: int) -> None:
        """Make the variant, write back twice, time faults, unmake it."""
        stage, profile = self.bench.stage, self.bench.stage.profile
        self.bench.progress(f"{variant.name}, repeat {repeat + 1} of {profile.variants.repeats}")
        path = path_of(profile, variant)
        if variant not in self.disks:
            self.disks[variant] = disk_below(stage.device, path)

        def attached(changes: Changes) -> BackingDevice:
            return attach(changes, profile, variant, self.size_bytes)

        with stage.on_backing(attached, self.disks[variant]) as there:
            there.as_block_device(self.pages)
            measured.fresh.append(self._pass(there))
            if not measured.verified:
                measured.verified = self._verified(there, variant)
            measured.overwritten.append(self._pass(there))
            measured.faults += self.faults.measure(self.bench.on(there), repeat)

    def _pass(self, stage: Stage) -> TimedWriteback:
        disks = [stage.disk.name] if stage.disk else []
        run = fill_and_write_back(
            self.bench.on(stage), stage.all_pages(self.pages), pages=PAGES, batch_size=batch_size_of(stage), disks=disks
        )
        if stage.backing.direct_io is False:
            # Else the page cache would be written out while the next one is measured.
            stage.device.run("sync", seconds=stage.profile.deadlines.writeback)
        return run

    def _verified(self, stage: Stage, variant: Variant) -> dict[str, Any]:
        """Return what the variant was read back as. Called after the first pass, when a sparse file must have grown."""
        facts = stage.backing.facts()
        names = ("kind", "file_system", "size_bytes", "allocated_bytes", "pinned", "direct_io", "block_size_bytes")
        verified = {name: facts[name] for name in names}
        verified["disk"] = stage.disk.name if stage.disk else None
        if stage.backing.file is not None:
            allocated = _allocated_bytes(stage, stage.backing.file)
            verified["allocated_bytes_after_first_pass"] = allocated
            if allocated < stage.profile.variants.data:
                raise DeviceError(
                    f"{stage.device.serial}: {variant.name}: {stage.profile.variants.data} bytes were written, the "
                    f"file system has allocated {allocated}: something else was written to"
                )
        return verified


def _allocated_bytes(stage: Stage, file: str) -> int:
    (result,) = stage.device.execute(Exec(("stat", "-c", "%b %B", file)))
    blocks, block_bytes = result.check().text.split()
    return int(blocks) * int(block_bytes)


def batch_size_of(stage: Stage) -> int | None:
    """Return the batch size at which variants are compared; None on a kernel without the attribute."""
    return stage.batch_sizes([stage.profile.variants.batch_size])[0]


def measure_variants(bench: Bench, measured: Mapping[Variant, MeasuredVariant]) -> None:
    """Measure all of them in turns.

    ``measured`` is filled on the way, so it keeps what it has if the phone is lost. A variant that cannot be had, or
    fails, gets its ``error``, and the others are measured still.
    """
    profile = bench.stage.profile
    repeats = profile.variants.repeats
    turns = _Turns(bench, FaultShares(profile.faults.samples, repeats))
    errors = in_turns(list(measured), repeats, bench.seed, lambda variant, n: turns.turn(variant, measured[variant], n))
    for variant, error in errors.items():
        measured[variant].error = error


def variant_results(bench: Bench, variant: Variant, measured: MeasuredVariant) -> list[RunResult]:
    """Make a record for fresh blocks, if the variant has such, and one for overwritten blocks, which has the faults.

    A variant that was broken off has a record for what was measured.
    """
    records = []
    if measured.fresh and variant.file_system is not None:
        records.append(_result(bench, variant, "fresh", measured.fresh, measured))
    if measured.overwritten:
        overwritten = _result(bench, variant, "overwritten", measured.overwritten, measured)
        if variant.file_system is None:
            overwritten = replace(overwritten, warmups=metrics(measured.fresh))
        records.append(_with_faults(bench, overwritten, variant, measured.faults))
    return records


def _with_faults(bench: Bench, overwritten: RunResult, variant: Variant, shares: Sequence[FaultSamples]) -> RunResult:
    if not shares:
        return overwritten
    faults = joined(shares)
    checks = {
        **overwritten.checks,
        READS_CHECK: {"expected": len(faults.written_back_ns), "seen": faults.bd_reads},
    }
    return replace(
        overwritten,
        raw={m.FAULT_LATENCY.name: bench.save_raw(f"variant-{variant.slug}", faults.written_back_ns)},
        checks=checks,
        facts={**overwritten.facts, "probe_overhead_ns": faults.overhead},
    )


def _result(
    bench: Bench, variant: Variant, blocks: str, runs: Sequence[TimedWriteback], measured: MeasuredVariant
) -> RunResult:
    data, batch_size = bench.stage.profile.variants.data, batch_size_of(bench.stage)
    on_disk = [counted.written_bytes for run in runs for counted in run.timed.disks.values()]
    return RunResult(
        test=t.BACKING.name,
        title=bench.title,
        params={"variant": variant.name, "blocks": blocks, "batch_size": batch_size, "data_bytes": data},
        metrics=metrics(runs),
        checks=written_check(runs),
        caveats=[
            *writeback_caveats(batch_size, len(runs), buffered=not variant.direct_io),
            *not_measurable(bench.stage),
        ],
        facts={
            "verified": measured.verified,
            "pages": str(PAGES),
            # While the writebacks ran. Less than the pages: the rest was in the page cache still.
            "disk_written_mib": round(sum(on_disk) / MIB, 1) if on_disk else None,
            "pages_written_mib": round(sum(run.mib for run in runs), 1),
        },
    )
