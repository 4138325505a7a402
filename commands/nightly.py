"""``./lab nightly FARM.yaml``: a night over a shelf of phones, with one report and one exit status."""

from __future__ import annotations

import argparse
import json
import os
import secrets
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from tabulate import tabulate

from base.arguments import CommandParser
from base.errors import ProfileError
from base.output import tell
from base.paths import REPO
from base.text import clean
from devices.profiles.what_is_measured import Plan
from farm.checkup import Check, check_phone
from farm.closing import close_night
from farm.night import PROGRAM, Night
from farm.opening import begun, resumed
from farm.plans import PlannedPhone, check_room, in_words, planned, week_of
from farm.pool import Pool, open_pool
from farm.shelf import Shelf, read_shelf
from farm.standing import Register
from farm.window import Window
from records.writing import check_writable


def main(
    argv: list[str], *, program: Sequence[str] = PROGRAM, check: Check = check_phone, pause_s: float = 20.0
) -> int:
    """Measure the phones of a farm's file for a night.

    ``program`` measures one phone, ``check`` looks at one, which rests for ``pause_s`` when the lab failed with it.
    """
    wanted = _parser().parse_args(argv)
    shelf = read_shelf(wanted.farm)
    window = Window.of(shelf.farm.window, wanted.until, where=f"{shelf.file}: ")
    register = Register()
    check_writable(wanted.results)
    with open_pool(shelf, register, tell) as (shelf, pool):
        return _night(wanted, argv, shelf, pool, window, register, program, check, pause_s)


def _night(
    wanted: argparse.Namespace, argv: list[str], shelf: Shelf, pool: Pool, window: Window, register: Register,
    program: Sequence[str], check: Check, pause_s: float,
) -> int:  # fmt: skip
    if wanted.dry_run or not wanted.resume:
        plan, seed = wanted.plan or shelf.farm.plan, secrets.randbelow(2**31) if wanted.seed is None else wanted.seed
        phones = planned(shelf, register.read(), dict(wanted.pick), plan, window, seed, week_of(wanted.results, shelf))
        check_room(wanted.results, phones, shelf.farm.keep.least_free)
        if wanted.dry_run:
            _tell_plan(shelf, phones, plan, window, as_json=wanted.json)
            return 0
        facts = {
            "file": str(shelf.file), "plan": plan, "seed": seed, "pid": os.getpid(), "command": argv,
            "until": window.end.isoformat() if window.end else None,
            "phones": [each.phone.serial for each in phones if not each.rests],
            "plans": {each.phone.serial: str(Plan.quick) for each in phones if each.worn and not each.rests},
        }  # fmt: skip
        log = begun(wanted.results, shelf, facts, tell)
        for each in phones:
            if each.worn and log.is_new:
                log.add("note", text=f"{each.phone.serial}: {in_words(each, plan)}")
    else:
        if wanted.plan or wanted.pick:
            raise ProfileError("--resume: that night has its phones and its plan", hint="leave out --pick and --plan")
        log = resumed(wanted.results, shelf, wanted.resume)
    if not wanted.until:
        window = window.kept(log.state.planned.get("until"))
    with closing(log):
        tell(f"night: {log.folder}, {len(log.state.phones)} phones, {window}")
        Night(shelf, log, window, register, tell, program, check, pause_s, pool).measure()
        story = close_night(shelf, log, register, tell)
    print(json.dumps(story, indent=2) if wanted.json else (log.folder / "fleet.txt").read_text(encoding="utf-8"))
    return int(story["status"])


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="lab nightly",
        description="Measures the phones of a farm's file: looks at each first, tries again what failed for the lab's "
        "sake, and leaves a report of the night. docs/farm.md explains the file.",
    )
    parser.add_argument("farm", metavar="FARM.yaml", type=Path, help="the phones, and what is measured on them")
    parser.add_argument(
        "--pick", action="append", default=[], type=_tag, metavar="K=V", help="only phones with this tag; repeatable"
    )
    parser.add_argument("--plan", choices=[*Plan], help="how much to measure; default: the file's")
    parser.add_argument("--until", metavar="HH:MM", help="end then, whatever the file's window says")
    parser.add_argument("--seed", type=int, help="of the order of phones; default: a new one, recorded")
    parser.add_argument("--dry-run", action="store_true", help="print phones, plan and window; touch no phone")
    parser.add_argument("--resume", metavar="NIGHT", help="take a night up again: its name, or its folder")
    parser.add_argument("--results", type=Path, default=REPO / "results", metavar="DIR", help="default: results/")
    parser.add_argument("--json", action="store_true", help="machine-readable on stdout")
    return parser


def _tag(text: str) -> tuple[str, str]:
    key, found, value = text.partition("=")
    if not found or not key or not value:
        raise argparse.ArgumentTypeError(f"{text!r} is no tag; write it as key=value, for example model=pixel-8")
    return key, value


def _tell_plan(shelf: Shelf, phones: list[PlannedPhone], plan: str, window: Window, *, as_json: bool) -> None:
    """What a night would do."""
    if as_json:
        rows = [
            {"serial": each.phone.serial, "tags": dict(each.phone.all_tags), "plan": each.plan,
             "seconds": each.seconds, "quarantined": each.bad}
            for each in phones
        ]  # fmt: skip
        end = window.end.isoformat() if window.end else None
        json.dump({"farm": shelf.farm.farm, "plan": plan, "until": end, "phones": rows}, sys.stdout, indent=2)
        print()
        return
    farm = shelf.farm
    print(f"farm {farm.farm}: {len(phones)} of {len(farm.phones)} phones picked, {farm.at_once} at once")
    print(f"plan {plan}, {window}\n")
    lines = [(clean(each.phone.serial), each.phone.profile or "by the phone", in_words(each, plan)) for each in phones]
    print(clean(tabulate(lines, headers=("phone", "profile", "tonight"))))
