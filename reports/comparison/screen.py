"""A comparison in 40 lines: on the terminal, and in 72 columns as a mail.

Everything but the table has a bound of its own; the table takes what is left. What does not fit is said to be left out.
"""

from __future__ import annotations

import statistics
import textwrap
from collections import Counter
from collections.abc import Sequence

from base.text import clean as printable
from reports import wording as w
from reports.comparison import words
from reports.comparison.compare import EXIT_WORSE, Comparison
from reports.comparison.rows import table, wanted
from reports.comparison.sides import EXIT_NOTHING, Side
from reports.comparison.verdicts import Compared, Verdict
from reports.text import MAIL_WIDTH, TERMINAL_WIDTH

LINES = 40
_CUT = " [...]"
_LONGEST_PATH = 60
# Lines for what must be read first, for reasons, and for doubts.
_ALARMS, _REASONS, _DOUBTS = 4, 4, 4
_NAMED = 3


def render_screen(comparison: Comparison) -> str:
    """What a terminal shows without ``-v``: at most 40 lines of 100 columns."""
    title = _fill(words.title(comparison), TERMINAL_WIDTH, 1)
    return _page([*title, *_fill(_answer(comparison), TERMINAL_WIDTH, 3)], comparison, TERMINAL_WIDTH)


def render_mail(comparison: Comparison) -> str:
    """The same in 72 columns of ASCII, with the answer as its subject."""
    subject = textwrap.shorten(f"Subject: {_subject(comparison)}", MAIL_WIDTH, placeholder="...")
    page = _page([subject, "", *_fill(_answer(comparison), MAIL_WIDTH, 3)], comparison, MAIL_WIDTH)
    return page.replace("µs", "us").encode("ascii", "replace").decode("ascii")


def _page(head: Sequence[str], comparison: Comparison, width: int) -> str:
    above = [[*head, *_alarms(comparison, width)], _sides(comparison, width)]
    below = [
        [*_reasons(comparison, width), *_others(comparison, width)],
        [*_doubts(comparison, width), *_legend(comparison, width)],
    ]
    below = [block for block in below if block]
    room = LINES - sum(len(block) + 1 for block in (*above, *below))
    blocks = [*above, table(comparison, room, width), *below]
    return printable("\n\n".join("\n".join(block) for block in blocks) + "\n")


def _answer(comparison: Comparison) -> str:
    primary = [each for each in comparison.judged if each.figure.is_primary]
    lead = {EXIT_WORSE: "Something is worse.", EXIT_NOTHING: "Nothing could be decided."}
    said = [lead.get(comparison.exit_status, "Nothing is worse.")]
    if primary:
        said.append(f"{words.figures(len(primary), 'primary')}: {words.tally(primary)}.")
    else:
        said.append("No primary figure was measured on both sides.")
    said.append(f"Least difference of interest: {words.percent(comparison.relevant)}.")
    return " ".join(said)


def _subject(comparison: Comparison) -> str:
    """Always with both counts: that nothing is worse is an answer too."""
    judged = [each for each in comparison.judged if each.figure.is_primary] or comparison.judged
    worse, better = (sum(each.verdict is verdict for each in judged) for verdict in (Verdict.worse, Verdict.better))
    base, cand = (w.clean(side.provenance.kernel_release) for side in (comparison.base, comparison.cand))
    what = f"{cand} against {base}" if base != cand else f"twice on {cand}"
    return f"zram writeback: {worse} worse, {better} better of {len(judged)} ({what})"


def _alarms(comparison: Comparison, width: int) -> list[str]:
    said = [f"*** ATTENTION: {alarm}" for alarm in words.alarms(comparison)]
    problems = [w.clean(problem) for problem in comparison.problems]
    if problems:
        counted = f", {len(problems)} in all (-v)" if len(problems) > 1 else ""
        said.append(f"*** NOT READ OR COMPARED{counted}: {problems[0]}")
    return _bounded(said, width, _ALARMS)


def _sides(comparison: Comparison, width: int) -> list[str]:
    lines = []
    for side in (comparison.base, comparison.cand):
        lines += _fill(_side(side), width, 2, "      ")
    differs = "; ".join(
        f"{each.what} {w.clean(each.base, width)} -> {w.clean(each.cand, width)}" for each in comparison.differs
    )
    both = f"Both on {words.phone(comparison.cand.provenance)}. Differs: {differs or 'nothing in kernel or settings'}."
    return [*lines, *_fill(both, width, 2)]


def _side(side: Side) -> str:
    """Kernel, runs, turns and how quiet they were, where it lies."""
    waits = [turn.wait for turn in side.turns if turn.wait is not None]
    runs = f"{len(side.runs)} run{'s' if len(side.runs) > 1 else ''}"
    noise = words.turns(side)
    if waits:
        noise += f" (CPUs waited {w.number(100 * statistics.median(waits), 2)} %, at worst "
        noise += f"{w.number(100 * max(waits), 2)} %)"
    where = w.clean(side.where)
    if len(where) > _LONGEST_PATH:
        where = f"...{where[3 - _LONGEST_PATH :]}"
    kernel = w.clean(side.provenance.kernel_release, _LONGEST_PATH)
    return f"{side.name}: Linux {kernel}, {runs}, {noise}; {where}"


def _reasons(comparison: Comparison, width: int) -> list[str]:
    """Why primary figures have no verdict, the commonest reason first, and what would give them one."""
    open_ones = [each for each in wanted(comparison) if each.why]
    kinds: dict[tuple[str, bool], list[Compared]] = {}
    for each in open_ones:
        kinds.setdefault((each.why, each.advice.enough is None), []).append(each)
    ranked = sorted(kinds.items(), key=lambda kind: -len(kind[1]))
    said = []
    for (why, _), members in ranked:
        most = max(members, key=lambda each: (each.advice.enough or 0, len(each.advice.words)))
        advice = f"; {most.advice.words}" if most.advice.words else ""
        said.append(f"{words.figures(len(members))}, {members[0].verdict.value}: {why}{advice}.")
    return _bounded(said, width, _REASONS)


def _others(comparison: Comparison, width: int) -> list[str]:
    others = [each for each in comparison.judged if not each.figure.is_primary]
    if not others:
        return []
    worse = [each for each in others if each.verdict is Verdict.worse]
    named = "; ".join(words.name(each) for each in worse[:_NAMED])
    more = f"; and {len(worse) - _NAMED} more" if len(worse) > _NAMED else ""
    said = f"{words.figures(len(others), 'other')}: {words.tally(others)}" + (f"; worse: {named}{more}" * bool(worse))
    return _fill(f"{said}.", width, 3)


def _doubts(comparison: Comparison, width: int) -> list[str]:
    counted = Counter(caveat for each in wanted(comparison) for caveat in each.caveats)
    said = [*words.doubts(comparison)]
    everywhere = {*comparison.base.caveats, *comparison.cand.caveats}
    said += [f"{words.figures(count)}: {caveat.value}" for caveat, count in counted.items() if caveat not in everywhere]
    return _bounded([f"Doubt: {doubt}" for doubt in said], width, _DOUBTS)


def _legend(comparison: Comparison, width: int) -> list[str]:
    rows = wanted(comparison)
    said = ["Ratio: CAND over BASE."]
    if any(each.verdict is Verdict.undecided for each in rows):
        mark = "?" if width <= MAIL_WIDTH else words.capital(Verdict.undecided.value)
        said.append(f"{mark}: neither a difference beyond {words.percent(comparison.relevant)} nor its absence shows.")
    if any(side.disturbed for each in rows for side in (each.figure.base, each.figure.cand)):
        said.append("-1/2: disturbed turns of each, left out.")
    return _fill(" ".join([*said, "All figures: -v, --format html."]), width, 3)


def _bounded(items: Sequence[str], width: int, most: int) -> list[str]:
    """At most so many lines, each item in two at most; the last line says how many items are not told."""
    lines: list[str] = []
    for number, item in enumerate(items):
        filled = _fill(item, width, 2, "   ")
        is_last = number == len(items) - 1
        if len(lines) + len(filled) > most - (not is_last):
            return [*lines, f"   and {len(items) - number} more of these: -v"]
        lines += filled
    return lines


def _fill(text: str, width: int, most: int, hanging: str = "") -> list[str]:
    return textwrap.wrap(
        text, width, subsequent_indent=hanging, break_on_hyphens=False, max_lines=most, placeholder=_CUT
    )
