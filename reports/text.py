"""A report as text: for the terminal and report.txt, and in 72 columns for a mail."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence

from tabulate import tabulate

from base.text import clean as printable
from records import tests as t
from records.model import Caveat
from reports import further, ledger
from reports import wording as w
from reports.analysis import Analysis
from reports.sections.section import Section
from reports.tables import Doubts, Table
from reports.verdict import verdict

TERMINAL_WIDTH = 100
MAIL_WIDTH = 72
# Where a long name may break: textwrap takes it for white space, and it is in no cell (see wording.clean).
BREAK = "\v"
# What tabulate puts between columns.
GAP = "  "


def render_text(analysis: Analysis, sections: Sequence[Section]) -> str:
    """All tables, at most 100 columns where their content allows it."""
    p = analysis.run.session.provenance
    title = f"zram writeback on {ledger.phone(analysis)}, Linux {w.clean(p.kernel_release)}"
    banners = "\n".join(_banners(analysis, sections, TERMINAL_WIDTH))
    parts = [
        f"{title}\n{'=' * len(title)}\n{_fill(ledger.machine(analysis), TERMINAL_WIDTH)}",
        *([banners] if banners else []),
    ]
    findings = [f"* {each.about}: {each.text}" for each in verdict(analysis, sections).findings]
    findings = findings or ["Nothing was measured."]
    parts.append("\n".join(_fill(finding, TERMINAL_WIDTH, hanging="  ") for finding in findings))
    parts += [table_text(table, TERMINAL_WIDTH) for section in sections for table in section.tables]
    general = [
        further.further_table(analysis),
        ledger.outcome_table(analysis),
        ledger.check_table(analysis),
        further.warmup_table(analysis),
        ledger.fact_table(analysis),
        ledger.provenance_table(analysis),
        ledger.wall_time_table(analysis),
    ]
    parts += [table_text(table, TERMINAL_WIDTH) for table in general if table is not None]
    return printable("\n\n".join(parts) + "\n")


def table_text(table: Table, width: int) -> str:
    """One table with its title, what the figures are and what to doubt."""
    lines = [f"{table.title}\n{'-' * len(table.title)}"]
    lines += [_fill(table.intro, width), ""] if table.intro else []
    lines.append(_body(table, width))
    below = [*table.notes, *table.doubts]
    lines += ["", *(_fill(note, width, hanging="   ") for note in below)] if below else []
    return "\n".join(lines)


def mail(analysis: Analysis, sections: Sequence[Section]) -> str:
    """What was measured, how, on what, the figures and the doubts: 72 columns, to be pasted into a reply."""
    banners = "\n".join(_banners(analysis, sections, MAIL_WIDTH, ("virtual",)))
    parts = [banners] if banners else []
    parts.append("\n".join(_mail_head(analysis, sections)))
    doubts = Doubts()
    for section in sections:
        parts += [f"{_fill(table.title, MAIL_WIDTH)}\n{_body(table, MAIL_WIDTH)}" for table in section.mail(doubts)]
    everywhere = (caveat for caveat in analysis.session_caveats if caveat is not Caveat.virtual)
    notes = [*doubts.notes(), *(f"all figures: {caveat.value}" for caveat in everywhere)]
    if notes:
        parts.append("\n".join(["Doubts", *(_fill(note, MAIL_WIDTH, hanging="   ") for note in notes)]))
    return printable("\n\n".join(parts) + "\n")


def _banners(
    analysis: Analysis, sections: Sequence[Section], width: int, caveats: Sequence[str] | None = None
) -> list[str]:
    """What must be read first; ``caveats`` names the caveats to show, None means all."""
    shown = [c for c in analysis.session_caveats if caveats is None or c.name in caveats]
    banners = [f"{'VIRTUAL PHONE' if c is Caveat.virtual else 'ALL FIGURES'}: {c.value}" for c in shown]
    banners += [f"ATTENTION: {alarm}" for alarm in verdict(analysis, sections).alarms]
    banners += [f"NOT READ: {problem}" for problem in analysis.problems]
    return [_fill(f"*** {banner}", width, hanging="    ") for banner in banners]


def _mail_head(analysis: Analysis, sections: Sequence[Section]) -> list[str]:
    session, p = analysis.run.session, analysis.run.session.provenance
    ufs = " ".join(w.clean(value) for value in p.ufs.values() if value)
    kind = f"virtual, {w.clean(p.accelerator)}" if p.virtual else "hardware"
    commit = f", commit {w.clean(p.git_commit)[:12]}" if p.git_commit else ""
    measured = w.listing([section.measured for section in sections] or ["nothing"])
    facts = {
        "What": f"zram writeback to a backing device: {measured}",
        "On": f"{ledger.phone(analysis)}, {kind}; Linux {w.clean(p.kernel_release)} {w.clean(p.arch)}, "
        f"{w.clean(p.cpus)} CPUs, {w.size(p.ram_bytes)} RAM, {w.pages_and_counters(p.page_size_bytes)}; "
        f"UFS {ufs or 'unknown'}",
        "zram": w.params(p.zram) or "unknown",
        "Backing": w.params(p.backing) or "unknown",
        "How": _how(analysis),
        "Run": f"{w.clean(session.run_id)}, plan {w.clean(session.plan)}, seed {session.seed}{commit}",
    }
    return [_fill(f"{name + ':':<9}{fact}", MAIL_WIDTH, hanging=" " * 9) for name, fact in facts.items()]


def _how(analysis: Analysis) -> str:
    warmups = max((len(m.values) for p in analysis.points for m in p.result.warmups.values()), default=0)
    said = ["medians", "in brackets where the true median lies (95 %, at n = 5 94 %, no distribution assumed)"]
    said += ["points in shuffled order within each repeat"] if analysis.of(t.THROUGHPUT) else []
    said += [f"{warmups} warm-up(s) before each point, in no figure"] if warmups else []
    if any(point.result.checks for point in analysis.points):
        agreed = not ledger.mismatches(analysis.points)
        said.append("kernel counters agree" if agreed else "kernel counters DISAGREE, see above")
    return "; ".join(said)


def _body(table: Table, width: int) -> str:
    """The columns that hold something, heads included; closer together where they would be too wide."""
    columns = table.shown_columns()
    shown = [table.columns[i] for i in columns]
    heads = [_wrap(column.head, column.wrap) for column in shown]
    cells = [[_wrap(row[i], table.columns[i].wrap) for i in columns] for row in table.rows]
    widths = [max(len(line) for row in [heads, *cells] for line in row[i].split("\n")) for i in range(len(heads))]
    # The heads go in as rows: as heads, tabulate would widen each column by two.
    head_rows = [heads, ["-" * each for each in widths]] if any(heads) else []
    sides = ["right" if column.numeric else "left" for column in shown]
    body = tabulate([*head_rows, *cells], tablefmt="plain", colalign=sides, disable_numparse=True)
    lines = body.splitlines()
    if sum(widths) + len(GAP) * (len(widths) - 1) > width:
        lines = [_closer(line, widths) for line in lines]
    return "\n".join(line.rstrip() for line in lines)


def _closer(line: str, widths: Sequence[int]) -> str:
    """A line of a table with one space between its columns instead of two."""
    starts = [sum(widths[:i]) + len(GAP) * i for i in range(len(widths))]
    return " ".join(line[start : start + each] for start, each in zip(starts, widths, strict=True))


def _wrap(cell: str, width: int | None) -> str:
    """A cell in lines of at most this width; a name that is longer breaks behind its dots and underscores."""
    if width is None:
        return cell
    breakable = re.sub(rf"\S{{{width + 1},}}", lambda name: re.sub(r"(?<=[._/])(?=.)", BREAK, name[0]), cell)
    filled = textwrap.fill(breakable, width, break_on_hyphens=False, replace_whitespace=False)
    return filled.replace(BREAK, "")


def _fill(text: str, width: int, hanging: str = "") -> str:
    return textwrap.fill(text, width, subsequent_indent=hanging, break_on_hyphens=False)
