"""The tables that say how far the figures can be believed: outcomes, cross-checks, what was measured on what, time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from records.model import RunResult, TestOutcome
from records.raw import RAW_FOLDER
from records.tests import TESTS
from reports import wording as w
from reports.analysis import Analysis
from reports.further import place_words
from reports.point import Point
from reports.tables import Column, Table

FILES: Mapping[str, str] = {
    "results.jsonl": "every record: session, points, outcomes, end",
    RAW_FOLDER: "every latency sample (numpy, uint64, ns)",
    "report.html": "this report as one page",
    "report.txt": "this report as text",
    "mail.txt": "the figures in 72 columns, to paste into a mail",
    "report.csv": "every value of every repeat, for a spreadsheet",
    "junit.xml": "outcomes for a build server",
    "kernel.log": "the phone's kernel log during the run",
    "transcript.log": "every command that was sent to the phone",
}
WALL_TIME_WORDS: Mapping[str, str] = {
    "phone": "the phone at work",
    "wire": "between host and phone (adb)",
    "host": "this computer: fixtures, statistics, files",
    "boot": "booting the virtual phone",
    "image_build": "building the virtual phone's image",
}


def outcome_table(analysis: Analysis) -> Table | None:
    """One row per test, those that did not pass first."""
    outcomes = sorted(analysis.run.outcomes, key=lambda o: _OUTCOME_RANK.get(o.outcome, 0))
    if not outcomes:
        return None
    return Table(
        key="outcomes",
        title="Tests",
        intro="What did not pass comes first. Skipped: this phone lacks something that its profile does not promise.",
        columns=(Column("test", False, 44), Column("outcome", False), Column("s"), Column("reason", False, 40)),
        rows=tuple(_outcome_rows(outcomes)),
    )


def _outcome_rows(outcomes: Iterable[TestOutcome]) -> Iterator[tuple[str, ...]]:
    """Tests that are one test with several parameters and ended alike share a row."""
    alike: dict[tuple[str, str, str], list[TestOutcome]] = {}
    for outcome in outcomes:
        key = (outcome.title or outcome.test, outcome.outcome, outcome.reason)
        alike.setdefault(key, []).append(outcome)
    for (title, ended, reason), members in alike.items():
        name = w.clean(title) + (f" ({len(members)} times)" if len(members) > 1 else "")
        yield name, w.clean(ended), f"{sum(each.seconds for each in members):.1f}", w.clean(reason)


_OUTCOME_RANK = {"failed": 0, "error": 0, "skipped": 1, "passed": 2}


def check_table(analysis: Analysis) -> Table | None:
    """Cross-checks with the kernel's counters; checks that agree are summed up, each one that does not has its row."""
    agreeing: dict[tuple[str, str], list[Mapping[str, float]]] = {}
    rows = []
    for point in analysis.points:
        for name, check in point.result.checks.items():
            if agrees(check):
                agreeing.setdefault((point.result.test, name), []).append(check)
            else:
                differs = (w.count(check.get("expected")), w.count(check.get("seen")), "DIFFERS")
                rows.append((w.clean(point.result.test), w.clean(name), w.params(point.result.params), *differs))
    for (test, name), checks in agreeing.items():
        expected = w.count(sum(check["expected"] for check in checks))
        seen = w.count(sum(check["seen"] for check in checks))
        where = "1 point" if len(checks) == 1 else f"sum of {len(checks)} points"
        rows.append((w.clean(test), w.clean(name), where, expected, seen, "agrees"))
    if not rows:
        return None
    heads = (Column("test", False, 24), Column("kernel counter", False, 28), Column("at", False, 28))
    return Table(
        key="checks",
        title="Cross-checks with the kernel's own counters",
        intro="What the measurement says that it did, against what the kernel counted meanwhile.",
        columns=(*heads, Column("expected"), Column("seen"), Column("result", False)),
        rows=tuple(rows),
    )


def agrees(check: Mapping[str, float]) -> bool:
    """Whether a check has both numbers and they are equal."""
    return "expected" in check and check["expected"] == check.get("seen")


def fact_table(analysis: Analysis) -> Table | None:
    """What else was read at a point and stands in no section, values as they are."""
    rows: dict[tuple[str, str, str], list[str]] = {}
    for point in analysis.points:
        hidden = TESTS[point.result.test].fact_names if point.has_section else frozenset()
        for name, value in point.result.facts.items():
            if name in hidden:
                continue
            where = rows.setdefault((w.clean(point.result.test), w.clean(name), w.clean(value)), [])
            where.append(w.params(point.result.params))
    if not rows:
        return None
    return Table(
        key="facts",
        title="Read at each point",
        intro="Settings and counters that were read beside the figures.",
        columns=(
            Column("test", False, 24),
            Column("at", False, 22),
            Column("fact", False, 20),
            Column("value", False, 31),
        ),
        rows=tuple((test, place_words(places), name, value) for (test, name, value), places in rows.items()),
    )


def wall_time_table(analysis: Analysis) -> Table | None:
    """Where the time of the run went."""
    end = analysis.run.end
    if end is None or not end.wall_time_s:
        return None
    parts = {name: spent for name, spent in end.wall_time_s.items() if name != "total"}
    total = end.wall_time_s.get("total", sum(parts.values()))
    rest = total - sum(parts.values())
    rows = [(WALL_TIME_WORDS.get(name, w.clean(name)), spent) for name, spent in parts.items()]
    if rest > 0.005 * total:
        rows.append(("not accounted for", rest))
    rows.append(("total", total))
    return Table(
        key="wall-time",
        title="Where the time went",
        intro="Wall time of the whole run.",
        columns=(Column("spent on", False), Column("time"), Column("share")),
        rows=tuple(
            (name, w.duration(spent), f"{100 * spent / total:.1f} %" if total else w.MISSING) for name, spent in rows
        ),
    )


def provenance_table(analysis: Analysis) -> Table:
    """What was measured, on what, by whom."""
    session, p = analysis.run.session, analysis.run.session.provenance
    rows: list[tuple[str, Any]] = [
        ("phone", _phone_name(p.manufacturer, p.model, p.device)),
        ("kind", f"virtual ({p.accelerator or 'accelerator unknown'})" if p.virtual else "hardware"),
        ("serial", p.serial),
        ("build", p.build),
        ("kernel", f"{w.clean(p.kernel_release)}, {w.clean(p.kernel_build)}"),
        ("CPU", f"{w.clean(p.cpus)} x {w.clean(p.arch)}"),
        ("memory", f"{w.size(p.ram_bytes)}, {w.pages_and_counters(p.page_size_bytes)}"),
        ("UFS", _pairs(p.ufs)),
        ("zram", _pairs(p.zram)),
        ("backing device", _pairs(p.backing)),
        ("zram attributes", ", ".join(map(w.clean, p.zram_attributes))),
        ("capabilities", ", ".join(map(w.clean, p.capabilities))),
        ("root", f"{w.clean(p.root_style)}, SELinux {w.clean(p.selinux)}"),
        ("profile", f"{w.clean(p.profile)} (sha256 {w.clean(p.profile_sha256)[:16]})"),
        ("plan, seed", f"{w.clean(session.plan)}, {session.seed}"),
        ("requested", ", ".join(map(w.clean, session.requested))),
        ("tools", _pairs(p.tool_versions)),
        ("commit", p.git_commit),
        ("host", _pairs(p.host)),
        ("run", f"{w.clean(session.run_id)}, started {w.clean(session.started_utc)}"),
    ]
    return Table(
        key="provenance",
        title="What was measured on what",
        intro="",
        columns=(Column("", False), Column("", False, 78)),
        rows=tuple((name, w.clean(value) or "none") for name, value in rows),
    )


def file_table(analysis: Analysis) -> Table:
    """The files of the run that are there, sizes left out: rendering again must not change the report."""
    folder = analysis.run.folder
    there = {each.name for each in folder.iterdir() if not each.name.startswith(".")} | {
        "report.html",
        "report.txt",
        "report.csv",
        "mail.txt",
    }
    rows = [(name, what) for name, what in FILES.items() if name in there]
    rows += [(name, "") for name in sorted(there - FILES.keys())]
    return Table(
        key="files",
        title="Files of this run",
        intro="How to read them: docs/results.md.",
        columns=(Column("file", False), Column("holds", False)),
        rows=tuple((w.clean(name), what) for name, what in rows),
    )


def mismatches(points: Iterable[Point]) -> list[tuple[RunResult, str]]:
    """Every cross-check that failed."""
    return [(p.result, name) for p in points for name, check in p.result.checks.items() if not agrees(check)]


def phone(analysis: Analysis) -> str:
    """Maker, model and name of the phone, as far as they are known."""
    p = analysis.run.session.provenance
    return _phone_name(p.manufacturer, p.model, p.device)


def machine(analysis: Analysis) -> str:
    """Processor, page size and, where there is one, the file system of the backing file: what figures depend on."""
    p = analysis.run.session.provenance
    file_system = p.backing.get("file_system")
    on = [f"backing file on {w.clean(file_system)}"] if file_system else []
    return ", ".join([w.clean(p.arch), w.pages_and_counters(p.page_size_bytes), *on])


def _phone_name(manufacturer: str | None, model: str | None, device: str) -> str:
    known = " ".join(w.clean(part) for part in (manufacturer, model) if part)
    return f"{known} ({w.clean(device)})" if known else w.clean(device)


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{w.clean(key)} {w.param(key, value)}" for key, value in values.items())
