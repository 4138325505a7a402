"""``./lab farm``: the phones of a shelf between nights: what is known of them, and what a person decides about them."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tabulate import tabulate

from base.arguments import CommandParser
from base.errors import EXIT_REFUSED, EXIT_RESTORE_FAILED, EnvironmentRefused, ProfileError
from base.output import tell
from base.text import clean
from devices.journal import Journal
from devices.journal_files import all_journals, measuring_with
from farm.baselines import pin, pinned_in
from farm.checkup import Checkup, Fitness, check_phone
from farm.pool import Reaped, become_coordinator, open_pool, prepare_labgrid
from farm.shelf import OWN_TAGS, Shelf, ShelfPhone, read_shelf
from farm.standing import Register, Standing, State, parse_reason, plain, user

_AT_ONCE = 16
DEFAULT_FILE = Path("farm.yaml")

Answer = tuple[int, Any, str]


def main(argv: list[str]) -> int:
    """Answer one question about the farm, or change the standing of one phone."""
    wanted = _parser().parse_args(argv)
    act: Callable[[argparse.Namespace], Answer] = wanted.act
    status, answer, text = act(wanted)
    print(json.dumps(answer, indent=2) if wanted.json else clean(text))
    return status


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(prog="lab farm", description="The phones of a farm between nights. docs/farm.md has more.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, act: Callable[[argparse.Namespace], Answer], about: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=about, description=about)
        added.set_defaults(act=act)
        added.add_argument("--json", action="store_true", help="machine-readable on stdout")
        added.add_argument(
            "--farm", type=Path, default=DEFAULT_FILE, metavar="FARM.yaml", help="default: %(default)s, here"
        )
        return added

    command("list", _list, "every phone with its tags, its health and why, and whether a night has it now")
    command("health", _health, "looks at every phone now, all at once; puts back what a killed run left")
    for name, act, about in (
        ("quarantine", _quarantine, "no night measures this phone until it is released"),
        ("release", _release, "this phone is good again"),
    ):
        added = command(name, act, about)
        added.add_argument("phone", metavar="PHONE", help="its serial")
        added.add_argument("--reason", help="why, in a few words")
    command("reap", _reap, "says what killed nights and runs left: phones to be put back; frees nothing that is in use")
    coordinator = command("coordinator", _coordinator, "engine labgrid: starts the coordinator of several computers")
    coordinator.add_argument("--listen", default="127.0.0.1:20408", metavar="HOST:PORT", help="default: %(default)s")
    exporter = command("exporter", _exporter, "engine labgrid: offers the phones of this computer to a coordinator")
    exporter.add_argument("file", type=Path, metavar="FILE", help="the phones, as labgrid's resources")
    exporter.add_argument("--coordinator", default="127.0.0.1:20408", metavar="HOST:PORT", help="default: %(default)s")
    exporter.add_argument("--name", help="of this exporter; default: the computer's")
    exporter.add_argument("--every", type=float, default=5.0, metavar="SECONDS", help="looks at a phone; default: 5")
    baseline = command("baseline", _baseline, "pins runs that nights are compared with, or lists them")
    baseline.add_argument("what", choices=["set", "list"])
    baseline.add_argument("name", nargs="?", metavar="NAME", help="of the baseline, for example ok-2026-11")
    baseline.add_argument("runs", nargs="*", type=Path, metavar="RUN", help="folders of runs that passed")
    return parser


def _list(wanted: argparse.Namespace) -> Answer:
    register = Register()
    with open_pool(read_shelf(wanted.farm), register, tell) as (shelf, pool):
        known = register.read()
        rows: list[dict[str, Any]] = [{
            "serial": phone.serial, "tags": dict(phone.all_tags), "claimed": pool.is_claimed(phone),
            **plain(known.get(phone.serial) or Standing()),
        } for phone in shelf.farm.phones]  # fmt: skip
    heads = ("phone", "tags", "health", "since", "by", "why", "times", "now")
    cells = [(
        clean(row["serial"]), clean(" ".join(f"{k}={v}" for k, v in row["tags"].items() if k not in OWN_TAGS)),
        row["state"], row["when"][:16], clean(row["who"]), clean(row["reason"].partition("\n")[0]),
        row["times"] or "", "a night has it" if row["claimed"] else "free",
    ) for row in rows]  # fmt: skip
    return 0, rows, str(tabulate(cells, headers=heads))


def _health(wanted: argparse.Namespace) -> Answer:
    """0 when every phone that is not bad already is fit."""
    register = Register()
    with open_pool(read_shelf(wanted.farm), register, tell) as (shelf, pool), ThreadPoolExecutor(_AT_ONCE) as threads:
        found = list(threads.map(lambda phone: _checked(shelf, register, phone), shelf.farm.phones))
        for phone in shelf.farm.phones:
            pool.tell_health(phone, register.of(phone.serial).state)
    rows: list[dict[str, Any]] = [{
        "serial": phone.serial, "fitness": str(each.fitness), "reason": each.reason, "seconds": each.seconds,
        "facts": each.facts, "notes": each.notes, "state": str(register.of(phone.serial).state),
    } for phone, each in zip(shelf.farm.phones, found, strict=True)]  # fmt: skip
    cells = [(
        clean(row["serial"]), row["fitness"], row["state"], f"{row['seconds']:.1f} s",
        clean("; ".join(filter(None, (row["reason"].partition("\n")[0], *row["notes"])))),
    ) for row in rows]  # fmt: skip
    fit = all(row["fitness"] in (Fitness.fit, Fitness.in_use) or row["state"] == State.bad for row in rows)
    return 0 if fit else EXIT_REFUSED, rows, str(tabulate(cells, headers=("phone", "now", "health", "took", "why")))


def _checked(shelf: Shelf, register: Register, phone: ShelfPhone) -> Checkup:
    found = check_phone(phone, shelf.farm.plan)
    with register.changing(phone.serial, "health") as standing:
        if found.fitness is Fitness.fit:
            standing.passed()
        elif found.status == EXIT_RESTORE_FAILED:
            standing.quarantined(found.reason, user())
    return found


def _quarantine(wanted: argparse.Namespace) -> Answer:
    reason, register = parse_reason(wanted.reason), Register()
    with open_pool(read_shelf(wanted.farm), register) as (shelf, pool):
        phone = shelf.phone(wanted.phone)
        with register.changing(phone.serial, "quarantine") as standing:
            standing.quarantined(reason, user())
        pool.tell_health(phone, standing.state)
    return 0, {"serial": phone.serial, **plain(standing)}, f"{phone.serial}: bad: {reason}"


def _release(wanted: argparse.Namespace) -> Answer:
    reason, register = parse_reason(wanted.reason), Register()
    with open_pool(read_shelf(wanted.farm), register) as (shelf, pool):
        phone = shelf.phone(wanted.phone)
        if register.of(phone.serial).state is State.good:
            raise EnvironmentRefused(f"{phone.serial} is good already", hint="./lab farm list shows every phone")
        with register.changing(phone.serial, "release") as standing:
            standing.released(reason, user())
        pool.tell_health(phone, standing.state)
    return 0, {"serial": phone.serial, **plain(standing)}, f"{phone.serial}: good: {reason}"


def _reap(wanted: argparse.Namespace) -> Answer:
    """Locks go with their holders. What may be left is a phone that was not put back, and a place of a coordinator."""
    left, busy = [], []
    freed, kept = _reaped_places(wanted.farm)
    for path in all_journals():
        journal = Journal.open(path)
        if holder := measuring_with(journal):
            busy.append({"phone": path.stem, "by": str(holder)})
        elif journal.pending:
            left.append(path.stem)
    lines = [f"{each['phone']}: in use by {each['by']}: left alone" for each in busy]
    lines += [
        f"{name}: a killed run left it changed: ./lab restore, or the next look at it, puts it back" for name in left
    ]
    lines += [f"place {each.place}: freed, {each.holder} has ended" for each in freed]
    lines += [f"place {each.place}: {each.holder} has ended; left alone: {each.kept}" for each in kept]
    answer = {"left": left, "busy": busy, "freed": [each.place for each in freed],
              "kept": [{"place": each.place, "why": each.kept} for each in kept]}  # fmt: skip
    return EXIT_REFUSED if left else 0, answer, "\n".join(lines or ["nothing was left behind"])


def _reaped_places(file: Path) -> tuple[list[Reaped], list[Reaped]]:
    """Places of dead holders: those that were freed, and those that were not. Without a farm's file there are none."""
    shelf, register = read_shelf(file) if file.exists() or file != DEFAULT_FILE else None, Register()
    if shelf is None or shelf.farm.engine.labgrid is None:
        return [], []
    with open_pool(shelf, register) as (_, pool):
        found = list(pool.reap())
    return [each for each in found if not each.kept], [each for each in found if each.kept]


def _coordinator(wanted: argparse.Namespace) -> Answer:
    become_coordinator(wanted.listen)
    raise AssertionError("it is another program now")


def _exporter(wanted: argparse.Namespace) -> Answer:
    prepare_labgrid()
    from farm.exporter import export

    return export(wanted.file, wanted.coordinator, wanted.name, wanted.every), {}, "no phone is offered any more"


def _baseline(wanted: argparse.Namespace) -> Answer:
    shelf: Shelf = read_shelf(wanted.farm)
    if wanted.what == "set":
        if not wanted.name or not wanted.runs:
            raise ProfileError("baseline set: say NAME and at least one RUN", hint="./lab farm baseline --help")
        found = pin(shelf.baselines, wanted.name, wanted.runs, shelf.farm.baseline.by)
    else:
        found = pinned_in(shelf.baselines)
    rows = [{"kind": each.kind, "name": each.name, "when": each.when, "who": each.who, "folder": str(each.folder),
             "runs": list(each.runs)} for each in found]  # fmt: skip
    cells: Sequence[tuple[str, ...]] = [
        (each.kind, each.name, each.when[:16], each.who, str(len(each.runs))) for each in found
    ]
    text = str(tabulate(cells, headers=("kind", "name", "pinned", "by", "runs"))) if cells else "no baseline is pinned"
    return 0, rows, text
