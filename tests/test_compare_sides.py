"""Which runs and points are compared with which, what is refused, and what is said of everything that is left over."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from base.errors import ReportError
from records import model
from reports.comparison.compare import Comparison
from reports.comparison.sides import NothingToCompare
from tests import reports_sample as sample
from tests.compare_runs import compared, noisy, point, rates, store, throughput_of

WITHOUT: dict[str, Any] = {"zram_attributes": ["backing_dev", "writeback"], "kernel_release": "6.12.5"}


def run(results: Path, **changes: Any) -> Path:
    return store(results, *rates({8: noisy(10.0)}), **changes)


def batches(comparison: Comparison) -> list[Any]:
    return [each.figure.pair.params["batch_size"] for each in throughput_of(comparison)]


def test_a_kernel_without_batches_stands_against_each_batch_size_of_the_other(tmp_path: Path) -> None:
    older = store(tmp_path / "a", *rates({None: noisy(7)}), **WITHOUT)
    newer = store(tmp_path / "b", *rates({32: noisy(50), 1: noisy(7), 8: noisy(34)}))
    assert batches(compared(older, newer)) == ["none/1", "none/8", "none/32"]
    assert [round(each.ratio or 0, 1) for each in throughput_of(compared(older, newer))] == [1.0, 4.9, 7.1]
    assert batches(compared(newer, older)) == ["1/none", "8/none", "32/none"]
    assert compared(older, newer).pairing.only_cand == ()


def test_only_points_that_agree_in_all_else_stand_against_each_other(tmp_path: Path) -> None:
    older = store(tmp_path / "a", sample.throughput(None, "sparse", noisy(7)), **WITHOUT)
    newer = store(
        tmp_path / "b", sample.throughput(8, "sparse", noisy(34)), sample.throughput(8, "sequential", noisy(36))
    )
    comparison = compared(older, newer)
    assert batches(comparison) == ["none/8"]
    assert [point.params["order"] for point in comparison.pairing.only_cand] == ["sequential"]


def sized(mib: int, by_batch: Mapping[int | None, Sequence[float]]) -> list[model.RunResult]:
    """As a sweep writes that decided how much to write back by a first measurement."""
    found = [sample.throughput(batch, "sparse", values) for batch, values in by_batch.items()]
    return [replace(r, params={**r.params, "data_bytes": mib << 20}, facts={"sized_by_mib_s": 50.0}) for r in found]


def test_data_that_were_sized_by_their_speed_keep_no_points_apart(tmp_path: Path) -> None:
    base = store(tmp_path / "a", *sized(16, {1: noisy(7), 32: noisy(30)}))
    cand = store(tmp_path / "b", *sized(32, {1: noisy(7), 32: noisy(50)}))
    pairing = compared(base, cand).pairing
    assert [pair.params["data_bytes"] for pair in pairing.pairs] == ["16MiB/32MiB"] * 2
    assert (pairing.only_base, pairing.only_cand) == ((), ())
    older = store(tmp_path / "c", *sized(4, {None: noisy(7)}), **WITHOUT)
    assert batches(compared(older, cand)) == ["none/1", "none/32"]


def test_data_that_the_profile_names_keep_points_apart(tmp_path: Path) -> None:
    base, cand = ([replace(result, facts={}) for result in sized(mib, {32: noisy(30)})] for mib in (16, 32))
    same = rates({1: noisy(7)})
    pairing = compared(store(tmp_path / "a", *base, *same), store(tmp_path / "b", *cand, *same)).pairing
    assert (len(pairing.only_base), len(pairing.only_cand)) == (1, 1)


def test_two_kernels_without_batches_are_compared_directly(tmp_path: Path) -> None:
    sides = [store(tmp_path / name, *rates({None: noisy(7)}), **WITHOUT) for name in ("a", "b")]
    assert batches(compared(*sides)) == [None]


def test_a_point_on_one_side_only_is_named(tmp_path: Path) -> None:
    base = store(tmp_path / "a", *rates({8: noisy(34), 16: noisy(44)}))
    cand = store(tmp_path / "b", *rates({8: noisy(34), 64: noisy(52)}), sample.integrity("swap"))
    pairing = compared(base, cand).pairing
    assert [point.params["batch_size"] for point in pairing.only_base] == [16]
    assert [(point.test, point.params.get("batch_size")) for point in pairing.only_cand] == [
        ("writeback_throughput", 64), ("data_integrity", None),
    ]  # fmt: skip


def test_a_metric_on_one_side_only_is_named(tmp_path: Path) -> None:
    both = {"old": model.Metric("s", "lower", noisy(1.0)), "new": model.Metric("s", "lower", noisy(1.0))}
    base = store(tmp_path / "a", model.RunResult("t", "t", {"size": 1}, {"old": both["old"]}))
    cand = store(tmp_path / "b", model.RunResult("t", "t", {"size": 1}, both))
    assert compared(base, cand).problems == ("t (size 1): new only in CAND",)


@pytest.mark.parametrize(("unit", "better"), [("ms", "lower"), ("s", "higher")])
def test_a_metric_that_changed_its_meaning_is_not_compared(unit: str, better: model.Better, tmp_path: Path) -> None:
    base = store(tmp_path / "a", point("m", noisy(1.0)), point("n", noisy(1.0)))
    cand = store(tmp_path / "b", point("m", noisy(1.0), unit=unit, better=better), point("n", noisy(1.0)))
    comparison = compared(base, cand)
    assert [each.figure.metric for each in comparison.figures] == ["n"]
    assert [problem for problem in comparison.problems if "m is in s, lower is better, in BASE" in problem]


def test_samples_that_cannot_be_read_are_named_and_the_rest_is_compared(tmp_path: Path) -> None:
    import numpy as np

    base, cand = (store(tmp_path / name, np.full(2000, 80.0), *rates({8: noisy(10.0)})) for name in ("a", "b"))
    raw = next((cand / "raw").iterdir())
    raw.write_bytes(raw.read_bytes()[:500])
    comparison = compared(base, cand)
    assert len(throughput_of(comparison)) == 1
    assert [problem for problem in comparison.problems if "not a whole .npy file" in problem]


def test_a_killed_run_is_compared_as_far_as_it_goes(tmp_path: Path) -> None:
    base = store(tmp_path / "a", *rates({8: noisy(34), 32: noisy(50)}))
    cand = store(tmp_path / "b", *rates({8: noisy(34), 32: noisy(50)}), end=False)
    records = cand / "results.jsonl"
    records.write_bytes(records.read_bytes()[:-40])
    comparison = compared(base, cand)
    assert batches(comparison) == [8]
    assert [point.params["batch_size"] for point in comparison.pairing.only_base] == [32]
    assert model.Caveat.incomplete_run in comparison.cand.caveats
    assert [problem for problem in comparison.problems if "cut off" in problem]


def test_runs_of_one_side_are_pooled(tmp_path: Path) -> None:
    for number in range(3):
        store(tmp_path / "before", *rates({8: noisy(10.0, 5, seed=number)}))
    (each,) = throughput_of(compared(tmp_path / "before" / "*", run(tmp_path / "after")))
    assert (each.figure.base.n, each.figure.cand.n) == (15, 9)


def test_a_folder_of_runs_is_refused_with_the_glob_to_write(tmp_path: Path) -> None:
    run(tmp_path / "a")
    with pytest.raises(ReportError, match="a folder of runs, not a run") as raised:
        compared(tmp_path / "a", run(tmp_path / "b"))
    assert raised.value.hint == f"to pool all runs in it, write '{tmp_path / 'a'}/*' in quotes"


def test_a_glob_that_matches_nothing_is_no_success(tmp_path: Path) -> None:
    with pytest.raises(NothingToCompare, match="no run matches") as raised:
        compared(tmp_path / "nightly-*", run(tmp_path / "b"))
    assert raised.value.exit_status == 12


def test_what_a_glob_matches_besides_runs_is_named(tmp_path: Path) -> None:
    run(tmp_path / "a")
    (tmp_path / "a" / "notes").mkdir()
    assert compared(tmp_path / "a" / "*", run(tmp_path / "b")).problems == (
        f"BASE: {tmp_path / 'a' / 'notes'}: not a run, left out",
    )


def test_no_common_point_is_nothing_to_compare(tmp_path: Path) -> None:
    with pytest.raises(NothingToCompare, match="no figure in common") as raised:
        compared(run(tmp_path / "a"), store(tmp_path / "b", sample.integrity("swap")))
    assert raised.value.hint == "BASE measured writeback_throughput; CAND measured data_integrity"


def test_a_run_is_not_compared_with_itself(tmp_path: Path) -> None:
    path = run(tmp_path)
    with pytest.raises(ReportError, match="is on both sides"):
        compared(path, path / "results.jsonl")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"virtual": False, "accelerator": None}, "virtual phone against real phone"),
        ({"model": "Pixel 8"}, "phone model QEMU virtual phone against QEMU Pixel 8"),
        ({"page_size_bytes": 16384}, "page size 4 KiB against 16 KiB"),
        ({"accelerator": "kvm"}, "accelerator tcg against kvm"),
        ({"arch": "aarch64"}, "processor x86_64 against aarch64"),
        ({"cpus": 4}, "CPUs 2 against 4"),
        ({"ram_bytes": 4 << 30}, "memory 2 GiB against 4 GiB"),
    ],
)
def test_what_may_not_be_compared_is_refused_with_the_reason(
    changes: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    with pytest.raises(ReportError, match="may not be compared") as raised:
        compared(run(tmp_path / "a"), run(tmp_path / "b", **changes))
    assert str(raised.value).endswith(reason)
    assert raised.value.exit_status == 4


def test_what_one_compares_is_listed(tmp_path: Path) -> None:
    changed = {
        "kernel_release": "7.4.0",
        "zram": {"device": "zram0", "disksize": "1GiB", "comp_algorithm": "zstd"},
        "zram_attributes": ["backing_dev", "bd_stat", "idle", "writeback", "writeback_batch_size", "new_one"],
        "ram_bytes": 2_100_000_000,
    }
    differs = compared(run(tmp_path / "a"), run(tmp_path / "b", **changed)).differs
    assert {each.what: (each.base, each.cand) for each in differs} == {
        "kernel": ("7.3.4+deb13-amd64", "7.4.0"),
        "zram attributes": ("has writeback_limit", "has new_one"),
        "zram comp_algorithm": ("lzo-rle", "zstd"),
        "memory": ("2 GiB", "1.96 GiB"),
    }


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"kernel_release": "6.12.5"}, "kernel 7.3.4+deb13-amd64 against 6.12.5"),
        ({"zram": {"comp_algorithm": "zstd"}}, "zram comp_algorithm lzo-rle against zstd"),
        ({"page_size_bytes": 16384}, "page size 4 KiB against 16 KiB"),
    ],
)
def test_runs_that_differ_are_not_pooled(changes: dict[str, Any], reason: str, tmp_path: Path) -> None:
    run(tmp_path / "a")
    run(tmp_path / "a", **changes)
    with pytest.raises(ReportError, match="cannot be pooled") as raised:
        compared(tmp_path / "a" / "*", run(tmp_path / "b"))
    assert reason in str(raised.value)


def test_runs_of_several_phones_of_one_model_are_pooled(tmp_path: Path) -> None:
    run(tmp_path / "a", serial="1")
    run(tmp_path / "a", serial="2")
    assert len(compared(tmp_path / "a" / "*", run(tmp_path / "b")).base.runs) == 2


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "empty: the run was killed before it began"),
        ('{"type": "session", "sche', "the first line is no JSON record"),
        ("\x7fELF\x02", "the first line is no JSON record"),
        ('{"type": "session", "schema": 3}\n', "written with schema 3, this version reads up to 2"),
        ('{"benchmark": "fio"}\n', "it does not begin with a session record"),
    ],
)
def test_foreign_and_truncated_files_are_one_clear_error(content: str, words: str, tmp_path: Path) -> None:
    bad = run(tmp_path / "a")
    (bad / "results.jsonl").write_text(content)
    with pytest.raises(ReportError, match=r"results\.jsonl") as raised:
        compared(bad, run(tmp_path / "b"))
    assert words in str(raised.value)
    assert raised.value.exit_status == 4


def test_an_empty_folder_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ReportError, match="not the folder of a run"):
        compared(tmp_path / "empty", run(tmp_path / "b"))


def test_records_of_another_schema_in_one_of_several_runs_are_refused_by_name(tmp_path: Path) -> None:
    run(tmp_path / "a")
    newer = run(tmp_path / "a")
    first, rest = (newer / "results.jsonl").read_text().split("\n", 1)
    (newer / "results.jsonl").write_text(json.dumps(json.loads(first) | {"schema": 3}) + "\n" + rest)
    with pytest.raises(ReportError, match="schema 3") as raised:
        compared(tmp_path / "a" / "*", run(tmp_path / "b"))
    assert str(newer) in str(raised.value)
