"""A report as text: for the terminal and report.txt, and in 72 columns for a mail."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

from tabulate import tabulate

from reports import ledger
from reports import wording as w
from reports.analysis import LATENCY, MIB_PER_S, Analysis, Panel, Point
from reports.model import Caveat
from reports.tables import (
    NS_PER_US,
    Table,
    batch_label,
    fault_tables,
    first_point,
    further_table,
    integrity_table,
    panel_title,
    price,
    ratio_cell,
    throughput_tables,
    warmup_table,
)
from reports.verdict import verdict

TERMINAL_WIDTH = 100
MAIL_WIDTH = 72


def render_text(analysis: Analysis) -> str:
    """All tables, at most 100 columns where their content allows it."""
    p = analysis.run.session.provenance
    title = f"zram writeback on {ledger.phone(analysis)}, Linux {w.clean(p.kernel_release)}"
    banners = "\n".join(_banners(analysis, TERMINAL_WIDTH))
    parts = [f"{title}\n{'=' * len(title)}", *([banners] if banners else [])]
    parts.append(_fill(" ".join(verdict(analysis).findings), TERMINAL_WIDTH))
    tables = [
        *throughput_tables(analysis),
        *fault_tables(analysis),
        integrity_table(analysis),
        further_table(analysis),
        ledger.outcome_table(analysis),
        ledger.check_table(analysis),
        warmup_table(analysis),
        ledger.fact_table(analysis),
        ledger.provenance_table(analysis),
        ledger.wall_time_table(analysis),
    ]
    parts += [table_text(table, TERMINAL_WIDTH) for table in tables if table is not None]
    return "\n\n".join(parts) + "\n"


def table_text(table: Table, width: int) -> str:
    """One table with its title, what the figures are and what to doubt."""
    columns = table.shown_columns()
    shown = [table.columns[i] for i in columns]
    body = _columns(
        [column.head for column in shown],
        [[row[i] for i in columns] for row in table.rows],
        ["right" if column.numeric else "left" for column in shown],
        [column.wrap for column in shown],
    )
    lines = [f"{table.title}\n{'-' * len(table.title)}"]
    lines += [_fill(table.intro, width)] if table.intro else []
    lines += [""] if table.intro else []
    lines.append(body)
    lines += ["", *(_fill(note, width, hanging="   ") for note in table.notes)] if table.notes else []
    return "\n".join(lines)


def mail(analysis: Analysis) -> str:
    """What was measured, how, on what, the figures and the doubts: 72 columns, to be pasted into a reply."""
    banners = "\n".join(_banners(analysis, MAIL_WIDTH, ("virtual",)))
    parts = [banners] if banners else []
    parts.append("\n".join(_mail_head(analysis)))
    doubts = _MailDoubts()
    for panel in analysis.panels:
        for order, points in panel.by_order().items():
            parts.append(_mail_throughput(panel, order, points, doubts))
    parts += [_mail_faults(points, doubts) for points in analysis.faults]
    parts += _mail_integrity(analysis)
    everywhere = (caveat for caveat in analysis.session_caveats if caveat is not Caveat.virtual)
    notes = [*doubts.notes(), *(f"all figures: {caveat.value}" for caveat in everywhere)]
    if notes:
        parts.append("\n".join(["Doubts", *(_fill(note, MAIL_WIDTH, hanging="   ") for note in notes)]))
    return "\n\n".join(parts) + "\n"


class _MailDoubts:
    """Letters for caveats through the whole mail, so that each is spelt out once."""

    def __init__(self) -> None:
        self._letters: dict[str, str] = {}

    def marks(self, point: Point) -> str:
        return "".join(self._letters.setdefault(c.value, chr(ord("a") + len(self._letters))) for c in point.caveats)

    def notes(self) -> list[str]:
        return [f"{letter}: {sentence}" for sentence, letter in self._letters.items()]


def _banners(analysis: Analysis, width: int, caveats: Sequence[str] | None = None) -> list[str]:
    """What must be read first; ``caveats`` names the caveats to show, None means all."""
    shown = [c for c in analysis.session_caveats if caveats is None or c.name in caveats]
    banners = [f"{'VIRTUAL PHONE' if c is Caveat.virtual else 'ALL FIGURES'}: {c.value}" for c in shown]
    banners += [f"ATTENTION: {alarm}" for alarm in verdict(analysis).alarms]
    banners += [f"NOT READ: {problem}" for problem in analysis.problems]
    return [_fill(f"*** {banner}", width, hanging="    ") for banner in banners]


def _mail_head(analysis: Analysis) -> list[str]:
    session, p = analysis.run.session, analysis.run.session.provenance
    ufs = " ".join(w.clean(value) for value in p.ufs.values() if value)
    kind = f"virtual, {w.clean(p.accelerator)}" if p.virtual else "hardware"
    commit = f", commit {w.clean(p.git_commit)[:12]}" if p.git_commit else ""
    facts = {
        "What": "zram writeback to a backing device: " + w.listing(_measured(analysis) or ["nothing"]),
        "On": f"{ledger.phone(analysis)}, {kind}; Linux {w.clean(p.kernel_release)} {w.clean(p.arch)}, "
        f"{w.clean(p.cpus)} CPUs, {w.size(p.ram_bytes)} RAM, pages of {w.size(p.page_size_bytes)}; "
        f"UFS {ufs or 'unknown'}",
        "zram": w.params(p.zram) or "unknown",
        "Backing": w.params(p.backing) or "unknown",
        "How": _how(analysis),
        "Run": f"{w.clean(session.run_id)}, plan {w.clean(session.plan)}, seed {session.seed}{commit}",
    }
    return [_fill(f"{name + ':':<9}{fact}", MAIL_WIDTH, hanging=" " * 9) for name, fact in facts.items()]


def _measured(analysis: Analysis) -> list[str]:
    found = ["throughput by batch size"] if analysis.panels else []
    found += ["latency of page faults"] if analysis.faults else []
    return found + (["data integrity"] if analysis.integrity else [])


def _how(analysis: Analysis) -> str:
    warmups = max((len(m.values) for p in analysis.points for m in p.result.warmups.values()), default=0)
    said = ["medians", "in brackets where the true median lies (95 %, at n = 5 94 %, no distribution assumed)"]
    said += ["points in shuffled order within each repeat"] if analysis.panels else []
    said += [f"{warmups} warm-up(s) before each point, in no figure"] if warmups else []
    if any(point.result.checks for point in analysis.points):
        agreed = not ledger.mismatches(analysis.points)
        said.append("kernel counters agree" if agreed else "kernel counters DISAGREE, see above")
    return "; ".join(said)


def _mail_throughput(panel: Panel, order: str, points: Sequence[Point], doubts: _MailDoubts) -> str:
    base = first_point(points)
    rows = []
    for point in points:
        cpu = [w.number(point.median(f"writeback.{part}")) for part in ("wall", "user_cpu", "sys_cpu")]
        rate = point.figures[MIB_PER_S]
        cells = (w.number(rate.median), w.interval(rate.interval), str(rate.n), ratio_cell(point, base))
        rows.append((batch_label(point), *cells, *cpu, doubts.marks(point)))
    title = panel_title(panel) + (f", {w.clean(order)} slot order" if order else "")
    heads = ("batch", "MiB/s", "interval", "n", f"x {batch_label(base)}", "real s", "user s", "sys s", "")
    return _fill(f"Throughput: {title}", MAIL_WIDTH) + "\n" + _mail_table(heads, rows)


def _mail_faults(points: Sequence[Point], doubts: _MailDoubts) -> str:
    rows = []
    for point in points:
        found = [point.quantile(LATENCY, name) for name in ("p50", "p90", "p99", "p99.9", "max")]
        cells = [w.number(q.value / NS_PER_US) if q and q.value is not None else w.MISSING for q in found]
        slot = w.clean(point.result.params.get("slot", "not stated"))
        rows.append((slot, str(point.samples[LATENCY].size), *cells, price(point, points), doubts.marks(point)))
    rest = w.params(points[0].result.params, without=("slot",))
    title = "Latency of a page fault in us, by where the page was" + (f": {rest}" if rest else "")
    return (
        _fill(title, MAIL_WIDTH)
        + "\n"
        + _mail_table(("slot", "n", "p50", "p90", "p99", "p99.9", "max", "x ram", ""), rows)
    )


def _mail_integrity(analysis: Analysis) -> list[str]:
    table = integrity_table(analysis)
    if table is None:
        return []
    lines = [f"{row[0]}: {row[1]} pages checked, {row[2]} corrupt" for row in table.rows]
    return ["\n".join(_fill(f"Integrity, {line}", MAIL_WIDTH, hanging="   ") for line in lines)]


def _mail_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    rows = list(rows)
    shown = [i for i in range(len(heads)) if i == 0 or any(row[i] not in ("", w.MISSING) for row in rows)]
    left = {len(heads) - 1, *(i for i, head in enumerate(heads) if head == "slot")}
    sides = ["left" if i in left else "right" for i in shown]
    return _columns([heads[i] for i in shown], [[row[i] for i in shown] for row in rows], sides)


def _columns(
    heads: Sequence[str], rows: Sequence[Sequence[str]], sides: Sequence[str], wraps: Sequence[int | None] | None = None
) -> str:
    """Columns side by side. The heads go in as rows: as heads, tabulate would widen each column by two."""
    wraps = wraps or [None] * len(heads)
    cells = [[_wrap(cell, width) for cell, width in zip(row, wraps, strict=True)] for row in rows]
    widths = [max(len(line) for row in [heads, *cells] for line in row[i].split("\n")) for i in range(len(heads))]
    head_rows = [list(heads), ["-" * width for width in widths]] if any(heads) else []
    body = tabulate([*head_rows, *cells], tablefmt="plain", colalign=sides, disable_numparse=True)
    return "\n".join(line.rstrip() for line in body.splitlines())


def _wrap(cell: str, width: int | None) -> str:
    return cell if width is None else textwrap.fill(cell, width, break_on_hyphens=False)


def _fill(text: str, width: int, hanging: str = "") -> str:
    return textwrap.fill(text, width, subsequent_indent=hanging, break_on_hyphens=False)
