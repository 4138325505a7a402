"""The answer in plain words: what a reader who reads nothing else should take away."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from base.errors import EXIT_DEVICE_LOST, EXIT_INTERRUPTED, EXIT_RESTORE_FAILED
from records import tests as t
from reports import wording as w
from reports.analysis import Analysis
from reports.ledger import mismatches
from reports.sections.integrity import corrupt_pages
from reports.sections.section import Section


@dataclass(frozen=True, slots=True)
class Finding:
    """What to take away from one section: its title, its key in the page, and the sentences, the first one first."""

    about: str
    key: str
    text: str
    rest: str = ""


@dataclass(frozen=True, slots=True)
class RunVerdict:
    """``alarms`` must be read before the figures, ``findings`` are the figures in words."""

    alarms: tuple[str, ...]
    findings: tuple[Finding, ...]


def verdict(analysis: Analysis, sections: Sequence[Section]) -> RunVerdict:
    """Alarms and findings of a run, in the order of its sections."""
    alarms = [*_state(analysis), *_bad_tests(analysis), *_corruption(analysis), *_books(analysis)]
    findings = [
        Finding(each.title, each.key, each.findings[0], " ".join(each.findings[1:]))
        for each in sections
        if each.findings
    ]
    findings += [Finding("Tests", "outcomes", sentence) for sentence in passed(analysis)]
    return RunVerdict(tuple(alarms), tuple(findings))


_ENDINGS = {
    EXIT_INTERRUPTED: "The run was interrupted: what had been measured by then is whole, the rest is missing.",
    EXIT_DEVICE_LOST: "The phone was lost during the run. Figures up to there are whole.",
    EXIT_RESTORE_FAILED: "The phone could not be put back as it was: `./lab restore` tries again.",
}


def _state(analysis: Analysis) -> list[str]:
    """How the run ended, where that was before its time or left the phone changed."""
    if analysis.run.end is not None:
        told = _ENDINGS.get(analysis.run.end.exit_status)
        return [told] if told else []
    return ["The run did not reach its end: it was killed or the host went down. Figures up to there are whole."]


def _bad_tests(analysis: Analysis) -> list[str]:
    outcomes = analysis.run.outcomes
    bad = [o for o in outcomes if o.outcome in ("failed", "error")]
    if not bad:
        return []
    named = "; ".join(
        f"{w.clean(o.title or o.test)} ({textwrap.shorten(w.clean(o.reason), 160) or o.outcome})" for o in bad[:3]
    )
    more = f"; and {len(bad) - 3} more" if len(bad) > 3 else ""
    return [f"{len(bad)} of {len(outcomes)} tests did not pass: {named}{more}."]


def _corruption(analysis: Analysis) -> list[str]:
    corrupt = sum(map(corrupt_pages, analysis.of(t.INTEGRITY)))
    return [f"DATA CORRUPTION: {w.count(corrupt)} pages came back different."] if corrupt else []


def _books(analysis: Analysis) -> list[str]:
    wrong = mismatches(analysis.points)
    if not wrong:
        return []
    names = w.listing(dict.fromkeys(f"{w.clean(result.test)} ({w.clean(name)})" for result, name in wrong))
    return [f"The kernel's own counters disagree with the measurement: {names}. Do not use those figures."]


def passed(analysis: Analysis) -> list[str]:
    """How many tests passed, where none failed."""
    outcomes = [o.outcome for o in analysis.run.outcomes]
    passed, skipped = outcomes.count("passed"), outcomes.count("skipped")
    if not outcomes or passed + skipped < len(outcomes):
        return []
    noun = "test" if passed == 1 else "tests"
    return [f"{passed} {noun} passed" + (f", {skipped} skipped." if skipped else ".")]
