"""Variants of what zram writes back to: the same writebacks and the same faults on each, visited in rounds.

Each turn makes a variant anew. Its first writeback meets blocks that nothing was ever written to (``fresh``), the
second one meets the same blocks again (``overwritten``). A partition and a mapped file have no blocks to be allocated;
their first writeback is a warm-up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from base.errors import DeviceError, EnvironmentRefused
from base.units import MIB
from devices.backing import BackingDevice, PinRefused, loop_backing, partition_backing
from devices.device import Changes
from devices.mapped import MappingRefused, mapped_backing
from devices.profiles.profile import Profile
from devices.profiles.sections import BackingKind, PageKind
from devices.storage import Disk, disk_below
from devices.transport import Exec
from records import tests as t
from records.model import RunResult
from workloads.bench import Bench
from workloads.faults import READS_CHECK, FaultSamples
from workloads.rounds import Rounds, measure_in_rounds
from workloads.stage import Stage
from workloads.timed_writeback import TimedWriteback, fill_and_write_back, metrics, writeback_caveats, written_check
from workloads.turns import NotAvailable, faults_by_turn, measure_share, not_measurable, share_of_faults

PAGES = PageKind.incompressible
# F2FS pins whole sections; a file of another size would be rounded up, and only that one.
_SECTION = 2 * MIB
# Of a sparse file some file systems allocate a block for the map of its blocks.
_ALMOST_NOTHING = 64 << 10


@dataclass(frozen=True, slots=True)
class Variant:
    """A point. ``file_system`` is None for a raw partition; ``mapped`` is a file without a loop device."""

    name: str
    file_system: str | None
    pinned: bool = False
    allocated: bool = True
    direct_io: bool = True
    mapped: bool = False

    @property
    def has_fresh_blocks(self) -> bool:
        """Say whether a file system may have to allocate blocks at the first writeback."""
        return self.file_system is not None and not self.mapped

    @property
    def slug(self) -> str:
        """Return the name in test ids and file names."""
        return self.name.replace(",", "").replace(" ", "-")

    def __str__(self) -> str:
        return self.name


VARIANTS = (
    Variant("f2fs file", "f2fs"),
    Variant("f2fs file, pinned", "f2fs", pinned=True),
    Variant("f2fs file, sparse", "f2fs", allocated=False),
    Variant("f2fs file, buffered", "f2fs", direct_io=False),
    Variant("f2fs file, mapped", "f2fs", pinned=True, mapped=True),
    Variant("ext4 file", "ext4"),
    Variant("partition", None),
)


@dataclass(frozen=True, slots=True)
class VariantTurn:
    """What one turn measured: a writeback by the state of the blocks, and faults where they can be measured.

    ``verified`` is what the variant was read back as.
    """

    fresh: TimedWriteback
    overwritten: TimedWriteback
    faults: FaultSamples | None
    verified: Mapping[str, Any]


VariantRounds = Rounds[Variant, VariantTurn]


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
        backing = mapped_backing(changes, path, size_bytes) if variant.mapped else loop_backing(
            changes, path, size_bytes, direct_io=variant.direct_io, block_size=profile.backing.block_size,
            allocate=variant.allocated, pin=variant.pinned,
        )  # fmt: skip
    except (PinRefused, MappingRefused) as error:
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
    disks: dict[Variant, Disk | None] = field(default_factory=dict)

    @property
    def pages(self) -> int:
        return self.bench.stage.pages(self.bench.stage.profile.variants.data)

    @property
    def size_bytes(self) -> int:
        """Return the size of a file, with the block that older kernels leave unused."""
        needed = (max(self.pages, share_of_faults(self.bench)) + 1) * self.bench.stage.page_bytes
        return -(-needed // _SECTION) * _SECTION

    def turn(self, variant: Variant, number: int) -> VariantTurn:
        """Make the variant, write back twice, time faults, unmake it."""
        stage, profile = self.bench.stage, self.bench.stage.profile
        path = path_of(profile, variant)
        if variant not in self.disks:
            self.disks[variant] = disk_below(stage.device, path)

        def attached(changes: Changes) -> BackingDevice:
            return attach(changes, profile, variant, self.size_bytes)

        with stage.on_backing(attached, self.disks[variant]) as there:
            there.as_block_device(self.pages)
            fresh = self._pass(there)
            verified = self._verified(there, variant)
            overwritten = self._pass(there)
            return VariantTurn(fresh, overwritten, measure_share(self.bench.on(there), number), verified)

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


def measure_variants(bench: Bench, variants: Sequence[Variant], into: VariantRounds) -> None:
    """Measure all of them in rounds.

    ``into`` is filled on the way, so it keeps what it has if the phone is lost. A variant that cannot be had, or fails,
    is among its ``failed``, and the others are measured still.
    """
    first, *others = variants
    bench = replace(bench, rounds=bench.rounds.at_most(bench.stage.profile.variants.repeats))
    measure_in_rounds(
        bench, variants, _Turns(bench).turn, into=into, leave_out=True,
        primary=lambda turn: turn.overwritten.mib_s, ratios=[(other, first) for other in others],
    )  # fmt: skip


def variant_results(bench: Bench, variant: Variant, rounds: VariantRounds) -> list[RunResult]:
    """Make a record for fresh blocks, if the variant has such, and one for overwritten blocks, which has the faults.

    A variant that was broken off has a record for the turns that it had.
    """
    turns = rounds.values(variant)
    if not turns:
        return []
    overwritten = _result(bench, variant, "overwritten", [turn.overwritten for turn in turns], rounds)
    fresh = [turn.fresh for turn in turns]
    if not variant.has_fresh_blocks:
        return [_with_faults(bench, replace(overwritten, warmups=metrics(fresh)), variant, turns)]
    return [_result(bench, variant, "fresh", fresh, rounds), _with_faults(bench, overwritten, variant, turns)]


def _with_faults(bench: Bench, overwritten: RunResult, variant: Variant, turns: Sequence[VariantTurn]) -> RunResult:
    found = [turn.faults for turn in turns if turn.faults is not None]
    if not found:
        return overwritten
    latencies = [faults.written_back_ns for faults in found]
    reads = {"expected": sum(part.size for part in latencies), "seen": sum(faults.bd_reads for faults in found)}
    return replace(
        overwritten,
        raw=faults_by_turn(bench, f"variant-{variant.slug}", latencies),
        checks={**overwritten.checks, READS_CHECK: reads},
        facts={**overwritten.facts, "probe_overhead_ns": found[0].overhead},
    )


def _result(
    bench: Bench, variant: Variant, blocks: str, runs: Sequence[TimedWriteback], rounds: VariantRounds
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
            *rounds.caveats(variant),
            *not_measurable(bench.stage),
        ],
        facts={
            "verified": rounds.values(variant)[0].verified,
            "pages": str(PAGES),
            # While the writebacks ran. Less than the pages: the rest was in the page cache still.
            "disk_written_mib": round(sum(on_disk) / MIB, 1) if on_disk else None,
            "pages_written_mib": round(sum(run.mib for run in runs), 1),
            **rounds.facts(),
        },
        turns=rounds.turns(variant),
    )
