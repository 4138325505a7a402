"""``./lab ab`` on a virtual phone, from the command to its exit status."""

from __future__ import annotations

from pathlib import Path

import pytest

from devices.virtual.phone import RunningPhone
from records import tests as t
from records.alternated import decided_figures
from records.reading import load
from records.sequential import SideVerdict
from tests.conftest import lab

pytestmark = pytest.mark.phone

PROFILE = """\
name: two-sides
connection: {{adb: {{serial: "{serial}"}}}}
zram: {{disksize: 128MiB}}
backing: {{path: /data/per_boot/two_sides, size: 64MiB}}
sweep: {{data: [2MiB], pages: [incompressible], order: [random]}}
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
        "--plan", "standard", "--budget", "90s", "--results", str(tmp_path / "results"), timeout=200,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    (folder,) = (tmp_path / "results").iterdir()
    run = load(folder)
    assert run.end is not None
    assert "restore_failed" not in run.end.facts
    assert run.session.command.startswith("./lab ab batch_size=32 batch_size=1 --metric")
    base, cand = (result for result in run.runs if result.test == t.AB_WRITEBACK.name)
    (rate,) = decided_figures(cand.facts)
    assert (rate.decision.verdict, cand.facts["ended_by"]) == (SideVerdict.worse, "decision")
    assert 8 <= rate.decision.rounds <= len(base.turns)
    assert rate.decision.interval is not None
    assert rate.decision.interval.high < 0.5
    for word in ("BASE: batch_size=32; CAND: batch_size=1", "worse"):
        assert word in done.stdout
