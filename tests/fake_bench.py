"""A fake phone set up for measuring, and small sizes: the one place that knows how a workload gets its bench."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from base.kernel import PAGE_4K
from base.units import MIB
from devices.device import Device, open_device
from devices.fake.content import Numbers, draw
from devices.fake.phone import FakePhone
from devices.fake.zram import FakeZram
from devices.profiles.profile import Profile
from devices.profiles.sections import Backing, ZramSection
from devices.profiles.what_is_measured import Compressors, Faults, Inflight, Variants
from records.model import RunResult
from tests.bench_sample import Kept, bench_on
from workloads.bench import Bench
from workloads.stage import set_stage

BACKING = "/data/per_boot/zram_writeback"
SCRATCH, PARTITION = "/mnt/scratch/zram_writeback", "/dev/block/by-name/zram_backing"
# Of one measured writeback: enough to fill a batch of 32 some times over.
PAGES = 128


def inflight(*batch_sizes: int) -> Inflight:
    return Inflight(batch_sizes=batch_sizes, repeats=1).model_copy(update={"data": PAGES * PAGE_4K})


def small_profile(**sections: Any) -> Profile:
    """Measured in milliseconds; some sections are smaller than a profile may ask for."""
    small = {
        "zram": ZramSection(disksize=16 * MIB),
        "backing": Backing(path=BACKING, size=8 * MIB),
        "inflight": inflight(1, 8, 32),
        "faults": Faults(samples=100, batch_sizes=(8,)),
        "variants": Variants(data=MIB, repeats=5, ext4=SCRATCH, partition=PARTITION, erase=True),
        "compressors": Compressors(data=MIB, repeats=5, batch_size=8),
    }
    return Profile(name="fake").model_copy(update=small | sections)


@dataclass(frozen=True)
class Fake:
    """What a workload is driven with, the phone that it runs on, and what it left."""

    phone: FakePhone
    bench: Bench
    kept: Kept

    @property
    def device(self) -> Device:
        return self.bench.stage.device

    @property
    def zram(self) -> FakeZram:
        return self.phone.zrams[self.bench.stage.zram.number]

    def told(self, command: str) -> list[dict[str, str]]:
        """The keys of each line of this command that the probe was told."""
        lines = [line.split(" ") for line in self.phone.log if line.startswith(f"{command} ")]
        return [dict(word.split("=", 1) for word in words) for _, *words in lines]


@contextmanager
def fake_bench(folder: Path, phone: FakePhone | None = None, profile: Profile | None = None) -> Iterator[Fake]:
    """A bench on a fake phone with a probe that serves; afterwards the phone must be as it was."""
    phone = phone or FakePhone()
    before = phone.state()
    with opened(phone, folder) as device, device.changes() as changes:
        bench, kept = bench_on(set_stage(changes, profile or small_profile()), folder)
        with bench.probing() as probing:
            yield Fake(phone, probing, kept)
    assert phone.state() == before


@contextmanager
def opened(phone: FakePhone, folder: Path) -> Iterator[Device]:
    """The phone as a run opens it, with a state folder of its own and something that stands for the probe's file."""
    program = folder / "probe"
    program.write_bytes(b"not really a program")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZRAM_LAB_STATE", str(folder / "state"))
        with open_device(phone, probe_builder=lambda arch: program) as device:
            yield device


def drawn(pages: int, keys: dict[str, str], pick: str, seed: str) -> Numbers:
    """The pages that a line of the probe picks, in its order."""
    return draw(np.arange(pages), int(keys[pick]) if pick in keys else pages, int(keys[seed]))


def median(result: RunResult, metric: str) -> float:
    return float(np.median(result.metrics[metric].values))


def by_param(results: Sequence[RunResult], name: str) -> dict[Any, RunResult]:
    return {result.params[name]: result for result in results}
