"""A comparison as people and programs get it: table, mail, page and JSON, and the exit status."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from commands.__main__ import main
from records import model
from tests import reports_sample as sample
from tests.compare_runs import noisy, rates, store
from tests.conftest import lab

REPO = Path(__file__).resolve().parent.parent
HOSTILE = "<script>alert(1)</script>\"'& $x$ \x1b[31m"


@pytest.fixture
def sides(tmp_path: Path) -> tuple[str, str]:
    """A regression at batch 8, an improvement at 32, and points without counterpart."""
    tail = 80_000 * np.exp(0.1 * np.random.default_rng(1).standard_normal(20_000))
    before = rates({1: noisy(7, seed=1), 8: noisy(34, seed=2), 32: noisy(50, seed=3), 64: noisy(52)})
    after = rates({1: noisy(7, seed=4), 8: noisy(28, seed=5), 32: noisy(60, seed=6), 128: noisy(54)})
    doubtful = model.RunResult("t", "t", {}, {"m": model.Metric("s", "lower", [1.0])}, caveats=[model.Caveat.throttled])
    base = store(tmp_path / "before", *before, tail, doubtful)
    cand = store(tmp_path / "after", *after, tail * 1.001, doubtful, kernel_release="7.4.0")
    return str(base), str(cand)


def said(capfd: pytest.CaptureFixture[str], *argv: str, status: int) -> str:
    assert main(["compare", *argv]) == status
    out, err = capfd.readouterr()
    assert err == ""
    return out


def test_everything_begins_with_the_answer(sides: tuple[str, str], capfd: pytest.CaptureFixture[str]) -> None:
    out = said(capfd, *sides, "-v", status=1)
    text = " ".join(out.split())
    assert "CAND (Linux 7.4.0) against BASE (Linux 7.3.4+deb13-amd64): of 8 figures 1 worse, 1 better" in text
    assert text.index("Worse: writeback throughput, 1 of 3 figures, 0.8") < text.index("Better: writeback throughput")
    assert re.search(r"^batch 8 +9 +3[34]\.\d +2[78]\.\d +0\.8\d+ +\[0\.[78]\d+, 0\.8\d+\] +worse$", out, re.MULTILINE)
    assert re.search(r"^batch 1 .* same$", out, re.MULTILINE)
    assert re.search(r"^kernel +7\.3\.4\+deb13-amd64 +7\.4\.0$", out, re.MULTILINE)
    assert max(map(len, out.splitlines())) <= 100


def test_what_was_not_compared_is_named_with_its_parameters(
    sides: tuple[str, str], capfd: pytest.CaptureFixture[str]
) -> None:
    for options in (["-v"], ["--format", "table"], ["--format", "mail"]):
        text = " ".join(said(capfd, *sides, *options, status=1).split())
        assert "Measured in BASE only, so not compared: writeback_throughput, 1 point." in text
        for batch in (64, 128) if "-v" in options else ():
            assert f"writeback_throughput (batch {batch}, data 32 MiB, pages incompressible, slot order sparse)" in text


def test_doubts_stand_beside_the_figures(sides: tuple[str, str], capfd: pytest.CaptureFixture[str]) -> None:
    text = said(capfd, *sides, "-v", status=1)
    assert re.search(r"^all +1 .* not enough.* a$", text, re.MULTILINE)
    assert "a: the CPU's maximum frequency was lowered during the run" in text
    assert "1: not enough data: too few for a verdict: 1 and 1 repeats; 4 repeats on each side" in " ".join(
        text.split()
    )


def test_the_json_has_every_figure(sides: tuple[str, str], capfd: pytest.CaptureFixture[str]) -> None:
    found = json.loads(said(capfd, *sides, "--format", "json", "--relevant", "2.5%", status=1))
    assert (found["exit_status"], found["relevant"]) == (1, 0.025)
    (slow,) = [
        each
        for each in found["figures"]
        if each["metric"] == "writeback.throughput" and each["params"]["base"]["batch_size"] == 8
    ]
    assert (slow["verdict"], slow["better"], slow["base"]["n"]) == ("worse", "higher", 9)
    assert slow["ratio"] == pytest.approx(slow["cand"]["figure"] / slow["base"]["figure"], rel=0.02)
    assert slow["interval"][0] <= slow["ratio"] <= slow["interval"][1] < 1 / 1.025
    quantiles = [each["quantile"] for each in found["figures"] if each["metric"] == "fault.latency"]
    assert quantiles == ["p50", "p90", "p99", "p99.9"]
    assert [point["params"]["batch_size"] for point in found["only_base"]] == [64]
    assert found["differs"] == [{"what": "kernel", "base": "7.3.4+deb13-amd64", "cand": "7.4.0"}]


class Page(HTMLParser):
    """Tags, and everything that a browser would fetch."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.feed(content)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href", "xlink:href") and value]


def test_the_page_needs_nothing_else_and_shows_every_ratio(
    sides: tuple[str, str], tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert said(capfd, *sides, "--format", "html", status=1) == "compare: compare.html\n"
    content = (tmp_path / "compare.html").read_text(encoding="utf-8")
    page = Page(content)
    assert [link for link in page.links if not link.startswith("#")] == []
    assert set(page.tags) & {"script", "link", "img", "iframe"} == set()
    assert page.tags.count("svg") == 3
    assert '<td class=" worse">worse</td>' in content
    assert "batch 8 0.8" in content


def test_a_file_can_be_named_for_every_format(
    sides: tuple[str, str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for form in ("table", "mail", "html", "json"):
        path = tmp_path / f"out.{form}"
        assert said(capfd, *sides, "--format", form, "-o", str(path), status=1) == f"compare: {path}\n"
        assert "CAND" in path.read_text(encoding="utf-8")


def test_the_same_input_gives_the_same_page(sides: tuple[str, str], tmp_path: Path) -> None:
    pages = [tmp_path / "1.html", tmp_path / "2.html"]
    for page in pages:
        main(["compare", *sides, "--format", "html", "-o", str(page)])
    assert pages[0].read_bytes() == pages[1].read_bytes()


def test_strings_from_a_phone_stay_strings(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def hostile(name: str, rate: float) -> str:
        result = sample.throughput(8, HOSTILE, noisy(rate), pages=HOSTILE)
        changes: dict[str, Any] = {"kernel_release": f"{name}{HOSTILE}", "model": HOSTILE, "serial": HOSTILE}
        return str(store(tmp_path / name, result, **changes))

    sides = hostile("a", 10.0), hostile("b", 5.0)
    page = tmp_path / "page.html"
    said(capfd, *sides, "--format", "html", "-o", str(page), status=1)
    assert "script" not in Page(page.read_text(encoding="utf-8")).tags
    for options in (["--format", "table"], ["--format", "mail"], ["-v"]):
        assert "\x1b" not in said(capfd, *sides, *options, status=1)


@pytest.mark.parametrize("relevant", ["0", "100%", "five"])
def test_a_relevant_difference_that_makes_no_sense_is_a_usage_error(
    relevant: str, sides: tuple[str, str], capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", *sides, "--relevant", relevant]) == 4
    assert "for example 5%" in capfd.readouterr().err


def test_lab_has_the_command(sides: tuple[str, str]) -> None:
    done = lab("compare", *sides, "--format", "mail")
    assert (done.returncode, done.stderr) == (1, "")
    assert "1 worse" in done.stdout


def test_an_error_is_told_with_what_to_do(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = str(store(tmp_path / "a", *rates({8: noisy(10.0)})))
    assert main(["compare", str(tmp_path / "none"), path]) == 4
    assert main(["compare", str(tmp_path / "none*"), path]) == 12
    out, err = capfd.readouterr()
    assert out == ""
    assert (err.count("lab: "), err.count("\n  -> ")) == (2, 2)


def test_a_million_samples_a_side_take_five_seconds_and_half_a_gibibyte_at_most(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    sides = [
        str(store(tmp_path / name, *(80_000 * np.exp(0.2 * random.standard_normal(1_000_000)) for _ in range(1))))
        for name in ("a", "b")
    ]
    program = (
        "import resource, sys; from commands.__main__ import main; status = main(['compare', *sys.argv[1:]]);"
        "used = resource.getrusage(resource.RUSAGE_SELF);"
        "print(status, used.ru_utime + used.ru_stime, used.ru_maxrss, sep='\\n', file=sys.stderr)"
    )
    for form in ("table", "html"):
        done = subprocess.run(
            [sys.executable, "-c", program, *sides, "--format", form, "-o", str(tmp_path / form)],
            cwd=REPO, env=os.environ | {"PYTHONPATH": str(REPO)}, capture_output=True, text=True,
            check=True, timeout=60,
        )  # fmt: skip
        status, seconds, kib = map(float, done.stderr.split())
        # CPU time and not wall time: other tests may share this computer.
        assert (status, seconds < 5, kib < 500 * 1024) == (0, True, True), done.stderr
