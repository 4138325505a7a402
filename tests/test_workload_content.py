"""Integrity, compressors and backing variants on a fake phone that spoils pages and is slower where it is told to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from base.units import MIB
from devices.fake.content import COMPRESSIBLE, make_contents, parse_mix
from devices.profiles.sections import PageKind
from devices.profiles.what_is_measured import Compressors, Faults
from tests.fake_bench import PAGES, PARTITION, SCRATCH, Fake, fake_bench, median, small_profile
from workloads.bench import Bench
from workloads.compressors import CompressorRounds, compressor_results, compressors, measure_compressors
from workloads.integrity import Integrity, check_block, check_swap, integrity_result
from workloads.rounds import Rounds
from workloads.timed_writeback import NothingMeasured
from workloads.turns import NotAvailable
from workloads.variants import VARIANTS, VariantRounds, measure_variants, variant_results

Check = Callable[[Bench, int], Integrity]
CHECKS = pytest.mark.parametrize("check", [check_block, check_swap])
FEW = small_profile(faults=Faults(samples=100).model_copy(update={"samples": 20}))


@CHECKS
def test_whole_pages_are_found_whole_and_read_from_the_backing_device(memory_path: Path, check: Check) -> None:
    with fake_bench(memory_path) as fake:
        seen = check(fake.bench, PAGES)
        result = integrity_result(fake.bench, "x", seen)
    assert (seen.pages, seen.corrupt, seen.checker_works) == (PAGES, 0, True)
    assert seen.written_back == seen.read_back > 0.8 * PAGES
    assert all(check["expected"] == check["seen"] for check in result.checks.values())


@CHECKS
def test_pages_that_change_on_their_way_are_found_and_named(memory_path: Path, check: Check) -> None:
    with fake_bench(memory_path) as fake:
        fake.zram.spoils = set(spoilt := some_slots(fake, check))
        seen = check(fake.bench, PAGES)
        pages = spoilt if check is check_block else [slot - 1 for slot in spoilt]
        result = integrity_result(fake.bench, "x", seen)
    assert (seen.corrupt, list(seen.first_corrupt)) == (3, pages)
    assert seen.checker_works
    assert result.metrics["integrity.corrupt"].values == [3]


def some_slots(fake: Fake, check: Check) -> list[int]:
    """Slots of pages that are written back; behind the one page that is swap's header for those of memory."""
    if check is check_swap:
        return [1, 5, 100]
    kinds = make_contents(parse_mix(PageKind.mixed.mix), fake.bench.seed, np.arange(PAGES))["kind"]
    stored = np.flatnonzero(kinds >= COMPRESSIBLE)
    return [int(page) for page in stored[[0, 7, -1]]]


@CHECKS
def test_pages_that_were_not_written_back_prove_nothing(memory_path: Path, check: Check) -> None:
    with fake_bench(memory_path) as fake:
        fake.zram.forgets = 2
        with pytest.raises(NothingMeasured, match="pages to write back, bd_stat counts"):
            check(fake.bench, PAGES)


def test_a_checker_that_sees_nothing_is_found_out(memory_path: Path) -> None:
    with fake_bench(memory_path) as fake:
        spoilt = PAGES // 2
        fake.zram.spoils = {spoilt}
        fake.bench.stage.as_block_device(PAGES)
        # The very page that is damaged on purpose is damaged already: the flipped bit makes it whole again.
        assert not check_block(fake.bench, PAGES).checker_works


def test_a_profiles_own_pages_are_what_compressors_get(memory_path: Path) -> None:
    own = small_profile(
        faults=FEW.faults, own_pages="s5,h70,c25@8", compressors=Compressors(data=MIB, pages=PageKind.own)
    )
    points, rounds = compressors(["zstd"], has_compressed_writeback=True), CompressorRounds()
    with fake_bench(memory_path, profile=own) as fake:
        measure_compressors(fake.bench, points, rounds)
        filled = [line for line in fake.phone.log if line.startswith("fill ")]
        results = compressor_results(fake.bench, points[0], rounds)
    first, *turns = filled
    assert "mix=i100" in first
    assert len(turns) > 2
    assert all("mix=s5,h70,c25@8" in line for line in turns)
    assert {result.params["pages"] for result in results} == {"own"}


def test_a_better_compressor_saves_more_and_reads_slower(memory_path: Path) -> None:
    points = compressors(["lz4", "zstd", "842"], has_compressed_writeback=True)
    rounds: CompressorRounds = Rounds()
    with fake_bench(memory_path, profile=FEW) as fake:
        measure_compressors(fake.bench, points, rounds)
        results = {
            (point.name, result.params.get("slot")): result
            for point in points
            for result in compressor_results(fake.bench, point, rounds)
        }
        raw = {name: np.median(samples) for name, samples in fake.kept.raw.items()}
    assert {point.name for point in rounds.failed} == {"842-decompressed", "842-compressed"}
    assert all(isinstance(error, NotAvailable) for error in rounds.failed.values())
    zstd, lz4 = (median(results[f"{name}-compressed", None], "zram.ratio") for name in ("zstd", "lz4"))
    assert zstd > 1.2 * lz4 > 1.2
    assert {result.params["pages"] for result in results.values()} == {"memory"}
    assert raw["compressor-zstd-compressed-ram"] > 2 * raw["compressor-lz4-compressed-ram"]
    assert raw["compressor-zstd-compressed-written_back"] > raw["compressor-zstd-decompressed-written_back"] + 5_000
    for (_, slot), result in results.items():
        assert all(check["expected"] == check["seen"] for check in result.checks.values())
        assert slot is None or result.facts["comp_algorithm_read_back"] == result.params["comp_algorithm"]
    fast, slow = (median(results[f"zstd-{way}", None], "writeback.sys_cpu") for way in ("compressed", "decompressed"))
    assert slow > fast, "pages that are written back decompressed must be decompressed first"


def test_each_variant_is_what_it_claims_and_fresh_blocks_are_slower(memory_path: Path) -> None:
    rounds: VariantRounds = Rounds()
    with fake_bench(memory_path, profile=FEW) as fake:
        measure_variants(fake.bench, VARIANTS, rounds)
        results = {variant.name: variant_results(fake.bench, variant, rounds) for variant in VARIANTS}
    assert rounds.failed == {}
    for variant in VARIANTS:
        assert len({str(turn.verified) for turn in rounds.values(variant)}) == 1
    verified = {variant.name: rounds.values(variant)[0].verified for variant in VARIANTS}
    assert {name: facts["disk"] for name, facts in verified.items()} == {
        "f2fs file": "sda", "f2fs file, pinned": "sda", "f2fs file, sparse": "sda", "f2fs file, buffered": "sda",
        "f2fs file, mapped": "sda", "ext4 file": "sdb", "partition": "sdc",
    }  # fmt: skip
    assert [name for name, facts in verified.items() if facts["pinned"]] == ["f2fs file, pinned", "f2fs file, mapped"]
    assert verified["f2fs file, sparse"]["allocated_bytes"] == 0
    assert verified["f2fs file, sparse"]["allocated_bytes_after_first_pass"] == FEW.variants.data
    for name in ("f2fs file", "f2fs file, sparse", "ext4 file"):
        fresh, overwritten = results[name]
        assert median(fresh, "writeback.throughput") < 0.8 * median(overwritten, "writeback.throughput")
        assert overwritten.facts["disk_written_mib"] == overwritten.facts["pages_written_mib"]
    assert results["f2fs file, buffered"][1].facts["disk_written_mib"] == 0
    (partition,), (mapped,) = results["partition"], results["f2fs file, mapped"]
    assert median(mapped, "writeback.throughput") > median(results["f2fs file"][1], "writeback.throughput")
    assert median(partition, "writeback.throughput") > median(results["f2fs file"][1], "writeback.throughput")
    assert (fake.phone.loops, SCRATCH in fake.phone.files, fake.phone.links[PARTITION]) == ({}, False, "/dev/block/sdc")
