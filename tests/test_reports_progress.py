"""Progress: a bar on a terminal, elsewhere one line a test."""

from __future__ import annotations

import io

from reports.progress import ProgressBar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(out: io.StringIO) -> str:
    """What somebody sees of a run with two tests, the second with two parameters, of many steps each."""
    progress = ProgressBar(out)
    progress.say("results: here")
    progress.total(300)
    for title in ("Throughput", "Faults", "Faults"):
        progress.test(title)
        for number in range(100):
            progress.step(f"{title} {number}")
    progress.close()
    return out.getvalue()


def test_elsewhere_than_on_a_terminal_a_test_has_one_line() -> None:
    lines = shown(io.StringIO()).splitlines()
    assert len(lines) == 3
    assert lines[0] == "results: here"
    assert [line.split(": ")[-1] for line in lines[1:]] == ["Throughput", "Faults"]
    assert "step 100 of 300" in lines[2]


def test_rounds_that_go_on_longer_than_was_thought_are_no_share_of_a_whole() -> None:
    out = io.StringIO()
    progress = ProgressBar(out)
    progress.total(1)
    for _ in range(2):
        progress.step("round")
    progress.test("Faults")
    assert "step 2: Faults" in out.getvalue()


def test_a_terminal_has_a_bar_and_no_lines() -> None:
    said, bar = shown(Terminal()).split("\n")
    assert said == "results: here"
    assert "/300" in bar
