"""What a report says of reads that wait for a writeback."""

from __future__ import annotations

from pathlib import Path

import pytest

from records import metrics as m
from records import model
from tests import reports_sample as sample
from tests.test_reports_render import render
from tests.test_reports_sections import block, findings

SECTION = "Reads of zram files while writeback runs"


def read(file: str, batch: int | None, us: float, rounds: int = 8) -> model.RunResult:
    """Reads of a file that took ``us``, in as many rounds; of a batch, while 256 KiB are written back in 9 ms."""
    params = {"batch_size": batch, "writeback": "running" if batch else "quiet", "file": file}
    facts = {"writeback_bytes": 262144, "writeback_ms": 9.0} if batch else {"writeback_bytes": 0, "writeback_ms": 0}
    values = [us * factor for factor in (0.99, 1.0, 1.01, 1.0, 0.99, 1.01, 1.0, 1.0)[:rounds]]
    return model.RunResult(
        "reads_during_writeback", "t", params,
        m.READ_WAIT.of(values) | m.READ_LONGEST.of([2 * us] * rounds), facts=facts, turns=sample.turns(rounds),
    )  # fmt: skip


def test_how_long_a_read_waits_is_told_of_each_file_by_batch_size(tmp_path: Path) -> None:
    results = [
        read(file, batch, us)
        for file in ("mm_stat", "idle") for batch, us in ((None, 10), (1, 4000), (32, 1000))
    ]  # fmt: skip
    rendered = render(tmp_path, *results)
    each = (
        "{} against quiet: batch 1 400 times [400, 400] (longest 8000 µs; 256 KiB in 9.00 ms); "
        "batch 32 100 times [100, 100] (longest 2000 µs; 256 KiB in 9.00 ms)."
    )
    assert findings(rendered)[SECTION] == " ".join(each.format(file) for file in ("mm_stat", "idle"))
    rows = [line.split() for line in block(rendered.text, "Time of one read of a file of zram's")]
    assert [row[1] for row in rows if row[:1] == ["mm_stat"]] == ["quiet", "batch", "batch"]


@pytest.mark.parametrize(("us", "rounds", "words"), [(10.1, 8, "no difference could be told, 1.01 times"), (50, 4, "")])
def test_nothing_is_said_of_a_wait_that_rounds_do_not_decide(
    tmp_path: Path, us: float, rounds: int, words: str
) -> None:
    said = findings(render(tmp_path, read("mm_stat", None, 10, rounds), read("mm_stat", 32, us, rounds)))
    assert (words in said[SECTION]) if words else (SECTION not in said)
