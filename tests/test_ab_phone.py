"""``./lab ab`` on a virtual phone, from the command to its exit status."""

from __future__ import annotations

from pathlib import Path

import pytest

from devices.virtual.phone import RunningPhone
from records import tests as t
from records.alternated import decided_figures
from records.intervals import FEWEST_FOR_WORDS
from records.reading import load
from records.sequential import SideVerdict
from tests.conftest import lab

pytestmark = pytest.mark.phone

PROFILE = """\
name: two-sides
connection: {{adb: {{serial: "{serial}"}}}}
zram: {{disksize: 128MiB}}
backing: {{path: /data/per_boot/two_sides, size: 64MiB}}
sweep: {{data: [2MiB], pages: [incompressible], order: [sparse]}}
inflight: {{data: 4MiB}}
faults: {{samples: 1000}}
variants: {{data: 4MiB}}
compressors: {{data: 4MiB}}
"""


def test_one_page_at_a_time_is_called_worse_than_a_batch(phone: RunningPhone, tmp_path: Path) -> None:
    profile = tmp_path / "two-sides.yaml"
    profile.write_text(PROFILE.format(serial=phone.serial))
    done = lab(
        "ab", "batch_size=32", "batch_size=1", "--metric", "writeback.throughput", "--device", str(profile),
        "--plan", "standard", "--budget", "30s", "--results", str(tmp_path / "results"), timeout=200,
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert list((tmp_path / "results").glob("*")), said
    (folder,) = (tmp_path / "results").iterdir()
    run = load(folder)
    assert run.end is not None
    assert "restore_failed" not in run.end.facts
    assert run.session.command.startswith("./lab ab batch_size=32 batch_size=1 --metric")
    base, cand = (result for result in run.runs if result.test == t.AB_WRITEBACK.name)
    quiet = set.intersection(*({turn.round for turn in side.turns if not turn.disturbed} for side in (base, cand)))
    figures = decided_figures(cand.facts)
    assert "batch_size=1" in done.stdout
    if len(quiet) < FEWEST_FOR_WORDS:
        # A host that others use as well: then nothing may be said.
        assert done.returncode == 12, said
        assert {each.decision.verdict for each in figures} <= {SideVerdict.undecided}
        return
    assert done.returncode == 1, said
    (rate,) = figures
    assert (rate.decision.verdict, cand.facts["ended_by"]) == (SideVerdict.worse, "decision")
    assert rate.decision.rounds == len(quiet)
    assert rate.decision.interval is not None
    assert rate.decision.interval.high < 0.5
    assert "BASE: batch_size=32; CAND: batch_size=1" in done.stdout
