"""``./lab run --kernel A --kernel B``: both are measured, one after the other, then compared."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from records.reading import load
from tests.conftest import Shelf, lab

ONE_SWEEP = ("-k", "test_writeback_throughput and incompressible-sparse", "--batch-sizes", "1,32")


def test_machines_that_do_not_differ_are_refused(tmp_path: Path) -> None:
    done = lab("run", "--kernel", "7.3", "--kernel", "7.3", "--results", str(tmp_path / "results"))
    assert done.returncode == 4
    assert "several machines must differ" in done.stderr
    assert not (tmp_path / "results").exists()


@pytest.mark.phone
def test_two_kernels_are_measured_and_compared(shelf: Shelf, tmp_path: Path) -> None:
    shelf.clear()
    done = lab(
        "run", *ONE_SWEEP, "--plan=quick", "--kernel=6.12", "--kernel=7.3", "--repeats=8", f"--results={tmp_path}",
        timeout=400,
    )  # fmt: skip
    (folder,) = tmp_path.iterdir()
    base, cand = (load(next((folder / kernel).iterdir())) for kernel in ("6.12", "7.3"))
    kernels = [run.session.provenance.kernel_release[:4] for run in (base, cand)]
    assert (kernels, base.session.seed) == (["6.12", "7.3."], cand.session.seed)
    # Which verdicts there are is the host's business; that batch 32 beats one page at a time is not. A host that others
    # use as well leaves too few turns in peace, and then nothing may be said.
    quiet = all(sum(not turn.disturbed for turn in result.turns) >= 8 for run in (base, cand) for result in run.runs)
    told = "better" if quiet else "(better|disturbed)"
    assert re.search(rf"^ batch none/32 .* {told}", done.stdout, re.MULTILINE), done.stdout + done.stderr
    assert done.returncode in ((0, 1) if quiet else (0, 1, 12))
    assert "Machines side by side" in done.stdout
    page = (folder / "compare-7.3.html").read_text(encoding="utf-8")
    assert "<svg" in page
    assert "BASE has no writeback_batch_size" in page
