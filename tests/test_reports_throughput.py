"""What a report says of a batch of 64 instead of the kernel's own of 32."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import reports_sample as sample
from tests.test_reports_render import render
from tests.test_reports_sections import findings


@pytest.mark.parametrize(
    ("rate", "words"),
    [
        (50.0, "Batch 64 against 32: no difference could be told, 1.00 times"),
        (60.0, "Batch 64 against 32: faster, 1.20 times"),
        (40.0, "Batch 64 against 32: slower, 0.800 times"),
    ],
)
def test_whether_a_batch_of_64_pays_is_one_sentence(tmp_path: Path, rate: float, words: str) -> None:
    points = [
        sample.throughput(batch, "random", [each] * 8, turns=sample.turns(8))
        for batch, each in ((1, 10.0), (32, 50.0), (64, rate))
    ]
    assert words in findings(render(tmp_path, *points))["Writeback throughput"]


def test_of_few_rounds_nothing_is_said_of_a_batch_of_64(tmp_path: Path) -> None:
    points = [sample.throughput(batch, "random", [50.0] * 7, turns=sample.turns(7)) for batch in (32, 64)]
    assert "Batch 64" not in findings(render(tmp_path, *points)).get("Writeback throughput", "")
