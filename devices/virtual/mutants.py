"""Builds of zram's driver with one known defect each, for a regression suite to find.

A mutant is a line of a table: a name, what is wrong with it, and where one short piece of the driver becomes another.
Pieces are found within a function and whatever the blanks between their words, so that a rule outlives small changes
of the driver; one that fits no longer, or twice, is an error and never a mutant that changes nothing.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass

from base.errors import EnvironmentRefused
from devices.virtual.module_build import Patch
from devices.virtual.module_sources import DRIVER, ModuleSources

_FILE = "zram_drv.c"


@dataclass(frozen=True, slots=True)
class Edit:
    """In the body of ``function`` the one place of ``find`` becomes ``put``."""

    function: str
    find: str
    put: str

    def apply(self, text: str) -> str:
        """Raises EnvironmentRefused unless there is exactly one such place."""
        body = re.search(
            rf"^\w[^\n;]*\b{re.escape(self.function)}\([^;{{]*\)\n{{\n.*?^}}", text, re.MULTILINE | re.DOTALL
        )
        words = r"\s+".join(map(re.escape, self.find.split()))
        places = list(re.finditer(words, body[0])) if body else []
        if body is None or len(places) != 1:
            raise EnvironmentRefused(
                f"{self.function}: {self.find!r} is there {len(places)} times, expected once",
                hint="this kernel's driver differs from the one that the mutants were written for: 7.3",
            )
        at = body.start() + places[0].start()
        return text[:at] + self.put + text[at + len(places[0][0]) :]


@dataclass(frozen=True, slots=True)
class Mutant:
    """One defect. ``like`` says where it was seen: the commit whose fix is taken out again, or nothing."""

    name: str
    defect: str
    edits: tuple[Edit, ...]
    like: str = ""

    def patch(self, sources: ModuleSources) -> Patch:
        """The change as a patch for these sources. Raises EnvironmentRefused where a rule does not fit them."""
        before = (sources.driver / _FILE).read_text()
        after = before
        for edit in self.edits:
            after = edit.apply(after)
        names = (f"a/{DRIVER}/{_FILE}", f"b/{DRIVER}/{_FILE}")
        lines = difflib.unified_diff(
            before.splitlines(keepends=True), after.splitlines(keepends=True), *names, n=1
        )  # fmt: skip
        return Patch(f"mutant {self.name}", "".join(lines).encode())


def _one(name: str, defect: str, function: str, find: str, put: str, *, like: str = "") -> Mutant:
    return Mutant(name, defect, (Edit(function, find, put),), like)


_COMPLETE, _SLOTS, _END_IO = "zram_writeback_complete", "zram_writeback_slots", "zram_writeback_endio"
_RELEASE = "zram_release_bdev_block(zram, req->blk_idx);"

MUTANTS = (
    # Fixes that are taken out again.
    Mutant(
        "freed-control", "the last completion wakes up a control block that is freed already",
        (
            Edit("release_wb_ctl", "kfree_rcu(wb_ctl, rcu);", "kfree(wb_ctl);"),
            Edit(_END_IO, "rcu_read_lock();", ""), Edit(_END_IO, "rcu_read_unlock();", ""),
        ), "bf62f69574b1",
    ),
    _one("leaked-block", "a block that was reserved and not used stays busy for ever", _SLOTS,
         "if (blk_idx != INVALID_BDEV_BLOCK) zram_release_bdev_block(zram, blk_idx);", "", like="3e8d8eb8d7f5"),
    _one("stale-tail", "what an earlier page left is written behind a compressed one", "read_from_zspool_raw",
         "memzero_page(page, size, PAGE_SIZE - size);", "", like="3bf1c285dc40"),
    _one("lost-size", "a page that was written back compressed has no size any more", _COMPLETE,
         "set_slot_flag(zram, index, ZRAM_WB);",
         "set_slot_flag(zram, index, ZRAM_WB); set_slot_size(zram, index, 0);", like="b0377ee80429"),
    _one("lost-huge-flag", "an incompressible page that was written back is taken for a compressed one", _COMPLETE,
         "atomic64_dec(&zram->stats.huge_pages);",
         "{ atomic64_dec(&zram->stats.huge_pages); clear_slot_flag(zram, index, ZRAM_HUGE); }", like="b0377ee80429"),
    _one("huge-counted-twice", "huge_pages goes down at the writeback and again when the page is freed", "slot_free",
         "if (!test_slot_flag(zram, index, ZRAM_WB)) atomic64_dec", "atomic64_dec", like="b0377ee80429"),
    _one("read-error-hidden", "a read of the backing device that failed passes for good", "zram_async_read_endio",
         "req->parent->bi_status = bio->bi_status;", "", like="bf989ade270d"),
    _one("empty-backing", "a backing device without a block is taken", "backing_dev_store",
         "if (!nr_pages) {", "if (0) {", like="be48c412f6eb"),
    _one("kept-backing", "a reset before disksize was set keeps the backing device", "zram_reset_device",
         "zram->limit_pages = 0;", "if (!init_done(zram)) return; zram->limit_pages = 0;", like="74363ec674cb"),
    _one("idle-age-wraps", "an idle age above the uptime marks every page", "idle_store",
         "if (age_sec >= uptime) return len; cutoff = uptime - age_sec;", "cutoff = (u32)(uptime - age_sec);"),
    _one("late-lock", "two writes of one slot lose an object between them", "zram_write_page",
         "slot_free(zram, index); set_slot_handle(zram, index, handle);",
         "slot_free(zram, index); slot_unlock(zram, index); cond_resched(); slot_lock(zram, index);\n"
         "\tset_slot_handle(zram, index, handle);", like="CVE-2025-39941"),
    # Races that are not looked at.
    _one("rewrite-missed", "a page that changed while it was written is served from its old copy", _COMPLETE,
         "if (!test_slot_flag(zram, index, ZRAM_PP_SLOT)) {", "if (0) {"),
    _one("rewrite-unmarked", "a page that is freed or rewritten stays marked for the writeback", "slot_free",
         "clear_slot_flag(zram, index, ZRAM_PP_SLOT);", ""),
    Mutant(
        "done-too-early", "a page counts as written back before its write has ended",
        (
            Edit("zram_submit_wb_request", "submit_bio(&req->bio);",
                 "zram_writeback_complete(zram, req);\n\tsubmit_bio(&req->bio);"),
            Edit("zram_complete_done_reqs", "err = zram_writeback_complete(zram, req);",
                 "err = blk_status_to_errno(req->bio.bi_status);"),
        ),
    ),
    Mutant(
        "no-done-lock", "requests that end at the same time tear the list of finished ones",
        (
            Edit(_END_IO, "spin_lock_irqsave(&wb_ctl->done_lock, flags);", "local_irq_save(flags);"),
            Edit(_END_IO, "spin_unlock_irqrestore(&wb_ctl->done_lock, flags);", "local_irq_restore(flags);"),
        ),
    ),
    Mutant(
        "no-slot-lock", "a page's completion does not keep others from its slot",
        (Edit(_COMPLETE, "slot_lock(zram, index);", ""), Edit(_COMPLETE, "slot_unlock(zram, index);", "")),
    ),
    # Blocks.
    _one("wrong-block-freed", "freeing a page that was written back frees its neighbour's block", "slot_free",
         "zram_release_bdev_block(zram, get_slot_handle(zram, index));",
         "zram_release_bdev_block(zram, get_slot_handle(zram, index) ^ 1);"),
    _one("block-freed-early", "the block of a page that was written back is free again at once", _COMPLETE,
         "set_slot_flag(zram, index, ZRAM_WB);", f"set_slot_flag(zram, index, ZRAM_WB); {_RELEASE}"),
    _one("race-keeps-block", "the block of a page that was rewritten meanwhile stays busy", _COMPLETE,
         f"{{ {_RELEASE} goto out; }}", "goto out;"),
    _one("count-not-lowered", "bd_count does not go down when a block is freed", "zram_release_bdev_block",
         "atomic64_dec(&zram->stats.bd_count);", ""),
    _one("first-block-lost", "block 0 is never used", "zram_reserve_bdev_block", "zram->nr_pages, 0);",
         "zram->nr_pages, 1);"),
    _one("last-block-lost", "the last block is never used", "zram_reserve_bdev_block",
         "if (blk_idx == zram->nr_pages)", "if (blk_idx >= zram->nr_pages - 1)"),
    _one("wrong-sector", "each write goes to the neighbour's block", _SLOTS, "req->blk_idx * (PAGE_SIZE >> 9);",
         "(req->blk_idx ^ 1) * (PAGE_SIZE >> 9);"),
    # The limit, and what is answered.
    _one("limit-one-early", "a writeback stops one page before its limit", _SLOTS, "!zram->bd_wb_limit)",
         "zram->bd_wb_limit <= PAGE_SIZE / 4096)"),
    _one("limit-one-late", "a writeback goes one page beyond its limit", "zram_account_writeback_submit",
         "if (zram->wb_limit_enable && zram->bd_wb_limit > 0)",
         "if (zram->wb_limit_enable && zram->bd_wb_limit > 0 && atomic64_read(&zram->stats.bd_count) > 1)"),
    _one("limit-not-refunded", "a write that failed is charged to the limit", _COMPLETE,
         "zram_account_writeback_rollback(zram);", ""),
    _one("full-unsaid", "a full backing device is no error", _SLOTS, "ret = -ENOSPC;", "ret = 0;"),
    _one("limit-unsaid", "a limit that is spent is no error", _SLOTS, "ret = -EIO;", "ret = 0;"),
    _one("range-short", "page_indexes leaves out the last page", "parse_page_indexes", "*hi += 1;", ""),
    _one("huge-takes-all", "a writeback of huge pages takes compressible ones too", "scan_slots_for_writeback",
         "mode & HUGE_WRITEBACK &&", "0 &&"),
    _one("idle-takes-all", "a writeback of idle pages takes pages in use too", "scan_slots_for_writeback",
         "mode & IDLE_WRITEBACK &&", "0 &&"),
    _one("idle-kept", "a page that is read stays idle", "mark_slot_accessed",
         "clear_slot_flag(zram, index, ZRAM_IDLE);", ""),
    _one("no-batch", "a batch size of 0 is taken", "writeback_batch_size_store", "if (!val) return -EINVAL;", ""),
    _one("thaws", "compressed_writeback can be changed once disksize is set", "compressed_writeback_store",
         "if (init_done(zram)) {", "if (0) {"),
)  # fmt: skip
