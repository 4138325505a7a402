"""The checks of the regression suite on a fake phone: a sound one passes, and each defect is found and told."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from devices.fake.zram import FakeZram
from devices.kernel_log import kernel_news
from records.model import RunResult
from tests.fake_bench import Fake, fake_bench
from workloads.regression import blocks, limits, pages, races, selection
from workloads.regression.findings import Check, Findings, hold

each_page: Check = partial(pages.each_page, batch_size=8, compressed=False)
many_hands: Check = partial(pages.many_hands, batch_size=8, compressed=False)

# Those that the fake phone is real enough for.
SOUND = [
    each_page, many_hands, pages.swapped_off, blocks.full_device, blocks.gaps, limits.to_the_page, limits.budgeted,
    limits.settings_wait, selection.selection, races.second_writeback, races.reset_meanwhile,
]  # fmt: skip


def checked(memory_path: Path, check: Check) -> Findings:
    found = Findings()
    with fake_bench(memory_path) as fake:
        check(fake.bench, found)
    return found


def name_of(check: Any) -> str:
    return str(getattr(check, "func", check).__name__)


@pytest.mark.parametrize("check", SOUND, ids=name_of)
def test_a_sound_phone_passes_and_is_put_back(memory_path: Path, check: Check) -> None:
    found = checked(memory_path, check)
    assert found.wrong == []
    assert found.checks, "nothing was checked"
    assert all(row["expected"] == row["seen"] for row in found.checks.values())


def forgets(zram: FakeZram) -> None:
    zram.forgets = 1


def spoils(zram: FakeZram) -> None:
    zram.spoils = {20, 21}


def loses_blocks(zram: FakeZram) -> None:
    """Blocks that are freed are never used again."""
    discard = zram.discard

    def leak(slots: Any) -> None:
        discard(slots)
        zram._free_blocks.clear()

    zram.discard = leak  # type: ignore[method-assign]


def charges_late(zram: FakeZram) -> None:
    """A limit lets one page more through."""
    write_slot, given = zram.write_slot, {"more": True}

    def one_more(work: Any, slot: int) -> int:
        limit = f"{zram.folder}writeback_limit"
        if zram.setting("writeback_limit_enable") == "1" and zram.files()[limit] == "0" and given.pop("more", False):
            zram.files()[limit] = "1"
        return write_slot(work, slot)

    zram.write_slot = one_more  # type: ignore[method-assign]


def keeps_idle(zram: FakeZram) -> None:
    """A page that is read stays idle."""
    load = zram.load

    def still_idle(slot: int) -> int:
        idle = zram.idle[slot]
        took = load(slot)
        zram.idle[slot] = idle
        return took

    zram.load = still_idle  # type: ignore[method-assign]


def takes_the_wrong_one(zram: FakeZram) -> None:
    """A page that is named by its number is not the one that goes."""
    chosen = zram._chosen

    def neighbour(value: str) -> Any:
        slots = chosen(value)
        return np.minimum(slots + 1, zram.size - 1) if value.startswith("page_index=") else slots

    zram._chosen = neighbour  # type: ignore[method-assign]


DEFECTS: list[tuple[Callable[[FakeZram], None], Check, str]] = [
    (forgets, each_page, "pages written back"),
    (spoils, each_page, "corrupt pages"),
    (spoils, many_hands, "corrupt pages"),
    (loses_blocks, blocks.gaps, "errno of writeback: expected '', seen 'ENOSPC'"),
    (charges_late, limits.to_the_page, "pages written under a limit"),
    (keeps_idle, selection.selection, "pages taken by idle"),
    (takes_the_wrong_one, selection.selection, "pages read from where they should be"),
]


@pytest.mark.parametrize(("defect", "check", "told"), DEFECTS, ids=lambda each: getattr(each, "__name__", None))
def test_a_defect_is_found_and_told(
    memory_path: Path, monkeypatch: pytest.MonkeyPatch, defect: Callable[[FakeZram], None], check: Check, told: str
) -> None:
    made = FakeZram.__post_init__

    def defective(self: FakeZram) -> None:
        made(self)
        defect(self)

    monkeypatch.setattr(FakeZram, "__post_init__", defective)
    assert any(told in wrong for wrong in checked(memory_path, check).wrong)


def recorded(fake: Fake) -> RunResult:
    (result,) = fake.kept.records
    return result


def test_what_is_wrong_fails_and_is_recorded_with_it(memory_path: Path) -> None:
    def wrong(bench: Any, found: Findings) -> None:
        found.expect("pages", 2, 1)
        found.kernel("does as it likes")

    with fake_bench(memory_path) as fake:
        with pytest.raises(AssertionError, match="pages: expected 2, seen 1"):
            hold(fake.bench, "some_check", wrong)
        result = recorded(fake)
    assert (result.test, result.params) == ("regression", {"check": "some_check"})
    assert result.checks == {"pages": {"expected": 2, "seen": 1}}
    assert result.facts["this_kernel"] == ["this kernel: does as it likes"]


def test_a_known_fault_fails_nothing(memory_path: Path) -> None:
    with fake_bench(memory_path) as fake:
        hold(fake.bench, "some_check", lambda bench, found: found.kernel("writes twice"))
        assert recorded(fake).facts == {"this_kernel": ["this kernel: writes twice"]}


OOPS = "BUG: KASAN: slab-use-after-free in zram_writeback_endio+0x1c/0x40 [zram]\nCall trace:\n zram_x+0x1\n"
IO_FAILED = "I/O error, dev loop241, sector 8 op 0x1:(WRITE) flags 0x800\nBuffer I/O error on dev loop241\n"


def test_failed_io_is_no_fault_where_it_is_wanted_and_an_oops_always_is() -> None:
    assert kernel_news(IO_FAILED).faults
    assert kernel_news(IO_FAILED, storage_fails=True).faults == ()
    news = kernel_news(IO_FAILED + OOPS, storage_fails=True)
    assert news.faults == (OOPS.splitlines()[0],)
    assert news.text == tuple(OOPS.splitlines())
