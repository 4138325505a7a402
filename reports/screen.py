"""A run on one screen, and the same as a mail: the only place that decides which lines a reader is given.

At most 40 lines. Where there is more to say, what comes later is cut first: doubts, then answers, then rows, and a line
says how much is missing.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from typing import Any

from base.text import clean as printable
from records import metrics as m
from records.model import Caveat
from reports import ledger, overview
from reports import wording as w
from reports.analysis import Analysis
from reports.cells import batch_label, told
from reports.sections import alternated, throughput
from reports.sections.section import Section
from reports.tables import Table
from reports.text import MAIL_WIDTH, TERMINAL_WIDTH, table_body
from reports.verdict import passed, verdict

MOST_LINES = 40
# No paragraph is longer: a reason or a name of a phone may be a page.
_MOST_OF_A_PARAGRAPH = 3
_MOST_OF_A_FACT = 2
_MOST_OF_THE_ALARMS = 8
# What the table leaves for answers and doubts, empty lines included.
_LEAST_BELOW = 8
_NOT_RECORDED = "not recorded"


def screen(analysis: Analysis, sections: Sequence[Section]) -> str:
    """What the terminal ends a run with: at most 40 lines of 100 columns, but for the path."""
    head = [_paragraph(line, TERMINAL_WIDTH, most=_MOST_OF_A_FACT) for line in _terminal_head(analysis)]
    return _fitted(analysis, sections, head, TERMINAL_WIDTH, [f"Folder: {analysis.run.folder}"])


def mail(analysis: Analysis, sections: Sequence[Section]) -> str:
    """The same to be pasted into a mail: a subject, what was run on what, 72 columns."""
    facts = _mail_head(analysis).items()
    head = [_paragraph(f"{name}: {fact}", MAIL_WIDTH, most=_MOST_OF_A_FACT) for name, fact in facts]
    return _fitted(analysis, sections, head, MAIL_WIDTH, [])


def _fitted(
    analysis: Analysis, sections: Sequence[Section], head: Sequence[Sequence[str]], width: int, last: Sequence[str]
) -> str:
    """Head, banners, table, answers, doubts and the last line, cut to what a screen holds."""
    above = [*(line for each in head for line in each), *_banners(analysis, width)]
    room = MOST_LINES - len(above) - (len(last) + 1 if last else 0)
    table = overview.batch_table(analysis) or alternated.decisions(analysis)
    body = _table(table, width, room - _LEAST_BELOW) if table else []
    # One empty line before each part.
    room -= len(body) + 1 if body else 0
    doubts = overview.doubts(analysis)
    # Answers come before doubts, but the first doubts before the tail of long answers.
    answered = _told(_answers(analysis, sections), width, "", room - 1 - min(3, len(doubts) + 1), "answers")
    doubted = _told(doubts, width, "? ", room - len(answered) - 2, "doubts") if doubts else []
    parts = [above, body, answered, doubted, list(last)]
    return printable("\n\n".join("\n".join(part) for part in parts if part) + "\n")


def _told(texts: Sequence[str], width: int, bullet: str, room: int, what: str) -> list[str]:
    """One line each, and further lines of each, the first texts first, as long as there is room."""
    paragraphs = [_paragraph(text, width, bullet, 1) for text in texts]
    for lines in range(2, _MOST_OF_A_PARAGRAPH + 1):
        for index, text in enumerate(texts):
            longer = _paragraph(text, width, bullet, lines)
            if sum(map(len, paragraphs)) - len(paragraphs[index]) + len(longer) <= room:
                paragraphs[index] = longer
    return _cut(paragraphs, room, what)


def _cut(paragraphs: Sequence[Sequence[str]], room: int, what: str) -> list[str]:
    """As many whole paragraphs as there is room for, and in the last line how many are left out."""
    if sum(map(len, paragraphs)) <= room:
        return [line for each in paragraphs for line in each]
    kept: list[str] = []
    for number, each in enumerate(paragraphs):
        if len(kept) + len(each) > room - 1:
            left = len(paragraphs) - number
            return [*kept, f"... and {left} more {what} in report.html"][: max(0, room)]
        kept += each
    return kept


def _paragraph(text: str, width: int, bullet: str = "", most: int = _MOST_OF_A_PARAGRAPH) -> list[str]:
    lines = textwrap.wrap(
        bullet + text, width, subsequent_indent="  ", break_on_hyphens=False, max_lines=most,
        placeholder=" ...",
    )  # fmt: skip
    return lines or [bullet.rstrip()]


def _banners(analysis: Analysis, width: int) -> list[str]:
    """What must be read before any figure."""
    alarms = [f"*** ATTENTION: {alarm}" for alarm in verdict(analysis, ()).alarms]
    alarms += [f"*** NOT READ: {problem}" for problem in analysis.problems]
    banners = [f"VIRTUAL PHONE: {overview.VIRTUAL}"] if analysis.run.session.provenance.virtual else []
    banners.append(f"NOISE: {overview.noise(analysis)}")
    return [
        *(line for each in banners for line in _paragraph(each, width)),
        *_cut([_paragraph(alarm, width) for alarm in alarms], _MOST_OF_THE_ALARMS, "alarms"),
    ]


def _table(table: Table, width: int, room: int) -> list[str]:
    """Title, heads and as many rows as there is room for."""
    title = textwrap.shorten(table.title, width, placeholder=" ...")
    lines = [title, *table_body(table, width).splitlines()]
    kept = max(room, len(lines) - len(table.rows)) - 1
    more = len(lines) - kept
    return [*lines[:kept], f"... and {more} more rows in report.html"] if more > 1 else lines


def _answers(analysis: Analysis, sections: Sequence[Section]) -> list[str]:
    """One line for each question that has an answer."""
    lines = [f"{each.title}: {each.findings[0]}" for each in sections if each.findings]
    return [*(lines or ["Nothing was measured."]), *(f"Tests: {line}" for line in passed(analysis))]


def _terminal_head(analysis: Analysis) -> list[str]:
    session, p = analysis.run.session, analysis.run.session.provenance
    return [
        f"zram writeback on {ledger.phone(analysis)}, Linux {w.clean(p.kernel_release)}",
        f"{ledger.machine(analysis)}; {w.clean(p.cpus)} CPUs, {w.size(p.ram_bytes)}; zram {_zram(p.zram)}; "
        f"plan {w.clean(session.plan)}, seed {session.seed}, {_second(session.started_utc)}",
    ]


def _mail_head(analysis: Analysis) -> dict[str, str]:
    session, p = analysis.run.session, analysis.run.session.provenance
    ufs = [w.clean(p.ufs.get(key)) for key in ("vendor", "model") if p.ufs.get(key)]
    backing = [w.clean(p.backing[key]) for key in ("kind", "file_system") if p.backing.get(key)]
    direct = ", direct I/O" if p.backing.get("direct_io") else ""
    return {
        "Subject": f"zram writeback, Linux {w.clean(p.kernel_release)}{_headline(analysis)}",
        "Command": w.clean(session.command) if session.command else _NOT_RECORDED,
        "Kernel": f"{w.clean(p.kernel_release)} {w.clean(p.arch)}, {w.clean(p.kernel_build)}",
        "zram": f"{_zram(p.zram)}; module {_module(p.zram)}",
        "Phone": f"{ledger.phone(analysis)}, {w.clean(p.cpus)} CPUs, {w.size(p.ram_bytes)}, "
        f"{w.pages_and_counters(p.page_size_bytes)}; governor {_governor(analysis)}",
        "Backing": f"{' on '.join(backing) or 'unknown'}{direct}; disk {' '.join(ufs) or 'unknown'}, "
        f"scheduler {_scheduler(p.backing)}",
        "Date": f"{_second(session.started_utc)}, run {w.clean(session.run_id)}",
    }


def _headline(analysis: Analysis) -> str:
    """The one figure of a subject line, of a run that has nothing to be read before it."""
    point = None if verdict(analysis, ()).alarms else throughput.headline(analysis)
    if point is None or Caveat.disturbed in point.caveats:
        return ""
    return f": {told(point, m.THROUGHPUT)} at batch {batch_label(point)}"


def _zram(known: Any) -> str:
    name = w.clean(known.get("comp_algorithm")) if known.get("comp_algorithm") else "compressor unknown"
    return name + (f", {w.clean(known['disksize'])}" if known.get("disksize") else "")


def _second(moment: str) -> str:
    """A time without fractions of a second."""
    return w.clean(re.sub(r"[.]\d+", "", moment))


def _module(known: Any) -> str:
    module = known.get("module")
    if isinstance(module, dict):
        return ", ".join(f"{w.clean(key)} {w.clean(value)}" for key, value in module.items()) or _NOT_RECORDED
    return w.clean(module) if module else _NOT_RECORDED


def _scheduler(backing: Any) -> str:
    """The disk's own; that of the loop device decides nothing."""
    queue = backing.get("disk_queue")
    found = queue.get("scheduler") if isinstance(queue, dict) else None
    return w.clean(found) if found else _NOT_RECORDED


def _governor(analysis: Analysis) -> str:
    end = analysis.run.end
    found = end.facts.get("governor") if end else None
    return w.clean(found) if found else _NOT_RECORDED
