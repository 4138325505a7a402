"""One screen and one mail of at most 40 lines, whatever a run holds."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from records import model
from reports.render import Rendered, render_all
from tests import reports_sample as sample
from tests.test_reports_render import end, render


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Rendered:
    return render_all(sample.write_run(tmp_path_factory.mktemp("results")))


@pytest.fixture
def everything(produced_report: Rendered) -> Rendered:
    """A run of every test."""
    return produced_report


def fits(told: str, width: int) -> bool:
    lines = told.splitlines()
    inside = [line for line in lines if not line.startswith("Folder: ")]
    return len(lines) <= 40 and max(map(len, inside)) <= width


def everything_failed(tmp_path: Path) -> Rendered:
    wrong = {f"counter {n}": {"expected": 8192, "seen": 8000} for n in range(9)}
    more: dict[str, Any] = {"checks": wrong, "caveats": list(model.Caveat)}
    return render(
        tmp_path,
        *(sample.throughput(batch, "sparse", [7.0] * 5, **more) for batch in range(30)),
        sample.integrity("swap", corrupt=3),
        *(model.TestOutcome(f"t{n}", f"Test {n}", "failed", "z " * 300) for n in range(40)),
        command="./lab run " * 60, kernel_build="y" * 400, model="long name " * 40,
    )  # fmt: skip


def test_a_run_ends_on_one_screen_whatever_happened(good: Rendered, everything: Rendered, tmp_path: Path) -> None:
    for rendered in (good, everything, everything_failed(tmp_path)):
        assert fits(rendered.screen, 100), rendered.screen
        assert fits(rendered.mail, 72), rendered.mail
        assert "VIRTUAL PHONE: a functional test; no figure or ratio of it may be quoted" in " ".join(
            rendered.screen.split()
        )
        assert "NOISE:" in rendered.screen


def test_what_does_not_fit_is_counted(tmp_path: Path) -> None:
    failed = everything_failed(tmp_path)
    assert "40 of 40 tests did not pass" in " ".join(failed.screen.split())
    assert re.search(r"^\.\.\. and \d+ more rows in report\.html$", failed.screen, re.MULTILINE)
    assert re.search(r"^\.\.\. and \d+ more doubts in report\.html$", failed.screen, re.MULTILINE)


def test_the_mail_says_what_was_run_on_what(tmp_path: Path, good: Rendered) -> None:
    queue = {"scheduler": "none [mq-deadline]"}
    backing = {"kind": "loop", "file_system": "f2fs", "direct_io": True, "disk_queue": queue}
    rendered = render(tmp_path, end(), command="./lab run --plan quick", backing=backing)
    head = rendered.mail.split("VIRTUAL PHONE")[0]
    lines = (
        "Subject: zram writeback, Linux 7.3.4", "Command: ./lab run --plan quick", "Kernel: 7.3.4+deb13-amd64",
        "zram: lzo-rle, 1GiB; module not recorded", "scheduler none [mq-deadline]", "governor not recorded",
        "Date: 2026-11-23T10:15:00Z",
    )  # fmt: skip
    for line in lines:
        assert line in " ".join(head.split())
    assert "Subject: zram writeback, Linux 7.3.4+deb13-amd64: 49.8 MiB/s [48.0, 50.1] at batch 32" in " ".join(
        good.mail.split()
    )
    assert re.search(r'[{}]|": ', good.mail + rendered.mail) is None


def test_noise_is_told_by_turns(good: Rendered, tmp_path: Path) -> None:
    said = "7 % of turns disturbed (3 of 43); CPU wait median 1.0 %, worst 40.0 %"
    assert said in " ".join(good.screen.split())
    measured = {"turns": 200, "disturbed": 50, "wait_median": 0.002, "wait_worst": None}
    other = render(tmp_path, model.End(0, "2026-11-23T10:20:00Z", {}, {"noise": measured}))
    assert "25 % of turns disturbed (50 of 200); CPU wait not measured" in " ".join(other.screen.split())


def test_the_mail_fits_72_columns_whatever_the_phone_says(good: Rendered, tmp_path: Path) -> None:
    long = render(
        tmp_path,
        sample.throughput(4096, "sparse" * 20, [12345.678] * 5, data=1 << 40, pages="y" * 90),
        model.TestOutcome("t", "t", "failed", "z" * 300),
        end(),
        serial="A" * 120,
        model="B" * 120,
        zram={"comp_algorithm": "c" * 100},
    )
    for mail in (good.mail, long.mail):
        assert max(map(len, mail.splitlines())) <= 72
    assert "[12346, 12346]" in long.mail
    assert len(long.mail.splitlines()) <= 40
