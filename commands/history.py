"""``./lab history index|trend|prune``: what many nights say, and room for the next ones."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from tabulate import tabulate

from base.arguments import CommandParser
from base.errors import EXIT_FAILED, EXIT_NO_BASELINE, ReportError
from base.text import clean
from base.units import parse_size
from farm.history.index import HistoryIndex
from farm.history.marks import acknowledge
from farm.history.pages import fleet_page, phone_page
from farm.history.prune import FULL_NIGHTS, RECORD_NIGHTS, Pruning, plan_pruning, prune
from farm.history.trends import ToldAlarm, Trends, trends
from farm.history.update import Update, on_index
from farm.history.wear import wear
from records.writing import replace_file
from reports.wording import size


def main(argv: list[str]) -> int:
    """Bring the index up to date, tell what moved, or make room."""
    parser = CommandParser(prog="lab history", description="What many nights say (docs/history.md).")
    parsers = parser.add_subparsers(dest="action", required=True, parser_class=CommandParser)
    index = parsers.add_parser("index", help="read what is new into the index of watched series")
    index.add_argument("--rebuild", action="store_true", help="make the index anew from the folders")
    told = parsers.add_parser("trend", help="alarms, boundaries and phones that left their own past")
    told.add_argument("--acknowledge", metavar="ALARM", help="somebody knows of this alarm: it calls nobody any more")
    told.add_argument("--reason", default="", metavar="TEXT", help="why, with --acknowledge")
    told.add_argument("--html", type=Path, metavar="FILE", help="write the fleet's page there, or --phone's")
    told.add_argument("--phone", metavar="SERIAL", help="with --html: the page of this phone's last year")
    worn = parsers.add_parser(
        "wear", help="bytes that measuring wrote to each phone within the week, its storage's life"
    )
    worn.add_argument(
        "--budget", type=_size, metavar="SIZE", help="bytes of a week, as 30GiB: advice for the next night"
    )
    pruned = parsers.add_parser("prune", help="make room: lists what would go; --delete does it")
    pruned.add_argument("--full", type=_nights, default=FULL_NIGHTS, metavar="NIGHTS", help="kept whole (%(default)s)")
    pruned.add_argument(
        "--records", type=_nights, default=RECORD_NIGHTS, metavar="NIGHTS",
        help="kept as packed records, figures and mail (%(default)s); what is older is removed",
    )  # fmt: skip
    pruned.add_argument("--delete", action="store_true", help="do it")
    for each in (index, told, worn, pruned):
        each.add_argument("--results", type=Path, default=Path("results"), metavar="DIR", help="default: %(default)s")
        each.add_argument("--json", action="store_true", help="machine-readable on stdout")
        each.add_argument("--baselines", type=Path, metavar="DIR", help="pinned runs that a slow drift is held against")
    told.epilog = "exit status: 0 nothing moved; 1 an alarm is open that nobody knows of; 12 there are no runs"
    wanted = parser.parse_args(argv)
    if wanted.action == "trend" and wanted.phone and not wanted.html:
        parser.error("--phone: name the page's file with --html")
    return _ACTIONS[wanted.action](wanted)


def _index(wanted: argparse.Namespace) -> int:
    def told(_: HistoryIndex, update: Update) -> int:
        if wanted.json:
            print(json.dumps(asdict(update), indent=2))
            return 0
        rebuilt = "; made anew" if update.rebuilt else ""
        print(f"{update.added} runs added, {update.nights} nights judged{rebuilt}: {update.index}")
        _list("cannot be read:", [f"{folder}: {why}" for folder, why in sorted(update.unreadable.items())])
        return 0

    return on_index(wanted.results, told, baselines=wanted.baselines, rebuild=wanted.rebuild)


def _trend(wanted: argparse.Namespace) -> int:
    return on_index(wanted.results, lambda index, _: _told_trend(index, wanted), baselines=wanted.baselines)


def _told_trend(index: HistoryIndex, wanted: argparse.Namespace) -> int:
    found = trends(index)
    if found is None:
        print("{}" if wanted.json else f"{wanted.results}: no runs yet")
        return EXIT_NO_BASELINE
    if wanted.acknowledge is not None:
        _acknowledge(found, wanted.acknowledge, wanted.reason)
        found = trends(index) or found
    if wanted.html:
        page = phone_page(index, wanted.phone) if wanted.phone else fleet_page(index)
        replace_file(wanted.html, page)
    if wanted.json:
        print(json.dumps(asdict(found), indent=2))
    else:
        _print(found)
    return EXIT_FAILED if any(alarm.calls for alarm in found.alarms) else 0


def _acknowledge(found: Trends, name: str, reason: str) -> None:
    names = [alarm.id for alarm in found.alarms]
    if name not in names:
        raise ReportError(f"{name}: no such alarm", hint=f"there are: {', '.join(names) or 'none'}")
    if not reason.strip():
        raise ReportError(f"{name}: why?", hint="add --reason TEXT: whoever reads it next wants to know")
    acknowledge(name, reason)


def _print(found: Trends) -> None:
    calling = sum(alarm.calls for alarm in found.alarms)
    print(f"{found.night}: {calling} alarms that somebody must look at, {len(found.suspects)} phones moved alone")
    for alarm in found.alarms:
        _list(_head(alarm), alarm.series)
    for boundary in found.boundaries:
        _list(f"\n{boundary.night} {boundary.kind.profile}: {boundary.what}",
              boundary.series or ["no difference could be told"])  # fmt: skip
    for serial, lines in found.suspects.items():
        _list(f"\n{serial}: look at its health", lines)
    for state in found.kinds:
        if state.lacks:
            _list(f"\n{state.kind.profile}, {state.kind.kernel}, {state.kind.plan}:", state.lacks)


def _head(alarm: ToldAlarm) -> str:
    what = "all phones moved: room or host?" if alarm.is_common else "worse" if alarm.is_worse else "better"
    known = f" ({alarm.known})" if alarm.known else ""
    return (
        f"\n{alarm.id} {alarm.state}{known}: {what}, since {alarm.opened}: {alarm.kind.profile}, "
        f"{alarm.kind.kernel}, {alarm.kind.build}, {alarm.kind.plan}"
    )


def _wear(wanted: argparse.Namespace) -> int:
    def told(index: HistoryIndex, _: Update) -> int:
        found = wear(index, budget_bytes=wanted.budget)
        if wanted.json:
            print(json.dumps([asdict(each) for each in found], indent=2))
            return 0
        rows = [(clean(each.serial), each.runs, size(each.written_bytes), each.advice, ", ".join(each.life_steps))
                for each in found]  # fmt: skip
        print(tabulate(rows, headers=("phone", "runs", "written", "next night", "storage aged")))
        return 0

    return on_index(wanted.results, told, baselines=wanted.baselines)


def _prune(wanted: argparse.Namespace) -> int:
    def planned(index: HistoryIndex, _: Update) -> list[Pruning]:
        return plan_pruning(index, wanted.results, full=wanted.full, records=wanted.records)

    plan = on_index(wanted.results, planned, baselines=wanted.baselines)
    problems = prune(wanted.results, plan) if wanted.delete else []
    total = sum(each.bytes for each in plan)
    if wanted.json:
        told = {"deleted": wanted.delete, "bytes": total, "folders": [asdict(each) for each in plan],
                "problems": problems}  # fmt: skip
        print(json.dumps(told, indent=2))
    else:
        for each in plan:
            print(f"{each.what} {clean(each.folder)}: {size(each.bytes)}")
        done = "" if wanted.delete else " would go; --delete does it"
        print(f"{len(plan)} folders, {size(total)}{done}")
        _list("could not be done:", problems)
    return EXIT_FAILED if problems else 0


def _nights(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of nights")
    return int(text)


def _size(text: str) -> int:
    try:
        return parse_size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _list(head: str, lines: Sequence[str]) -> None:
    if lines:
        print(head)
    for line in lines:
        print(f"  {line}")


_ACTIONS = {"index": _index, "trend": _trend, "wear": _wear, "prune": _prune}
