"""``./lab ab BASE CAND``: two sides alternated in one session on one phone, until it is decided.

The measuring is a test of pytest's, so that a phone is opened, watched and put back as in every run. This module is
also the plugin that gives pytest the command's options.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from base.arguments import CommandParser, share
from base.errors import EXIT_FAILED, EXIT_NO_BASELINE, LabError, ProfileError
from base.paths import REPO
from commands.pytest_on import become_pytest
from records.intervals import RELEVANT
from workloads.alternated import DEFAULT_QUESTIONS
from workloads.questions import all_questions
from workloads.sides import DEFAULT, KINDS, parse_sides

SUITE = REPO / "suites" / "alternated.py"
# What `git bisect run` takes for "this one cannot be judged"; from 128 on it stops.
EXIT_SKIP, EXIT_STOP = 125, 128
_WHERE = "where"


def main(argv: list[str]) -> int:
    """Check what was asked for, then measure; the exit status says whether the candidate is worse."""
    try:
        return _main(argv)
    except LabError as error:
        if "--bisect" in argv:
            error.exit_status = bisect_status(error.exit_status)
        raise
    except SystemExit as ended:
        if "--bisect" in argv and isinstance(ended.code, int):
            sys.exit(bisect_status(ended.code))
        raise


def _main(argv: list[str]) -> int:
    parser = _parser()
    wanted = parser.parse_args(argv)
    common = [word for word in wanted.at if not word.startswith(f"{_WHERE}=")]
    where = [word.partition("=")[2] for word in wanted.at if word.startswith(f"{_WHERE}=")]
    if where and not wanted.metric:
        raise ProfileError(f"--at {_WHERE}={where[0]}: of which metric?", hint="give --metric too")
    parse_sides(wanted.base, wanted.cand, common)
    asked = {
        "base": wanted.base, "cand": wanted.cand, "common": common, "question": wanted.question or [],
        "relevant": wanted.relevant, "metric": wanted.metric, "where": where[-1] if where else "",
        "bisect": wanted.bisect, "command": shlex.join(["./lab", "ab", *argv]),
    }  # fmt: skip
    options = ["-p", "commands.ab", f"--ab={json.dumps(asked)}", f"--budget={wanted.budget}", f"--plan={wanted.plan}"]
    for name in ("device", "kernel", "arch", "page_size", "seed", "results"):
        if (value := getattr(wanted, name)) is not None:
            options.append(f"--{name.replace('_', '-')}={value}")
    options += ["--dry-run"] * wanted.dry_run + ["-v"] * wanted.verbose
    become_pytest("suites", [str(SUITE), *options])


def _parser() -> argparse.ArgumentParser:
    settings = "; ".join(f"{key}{'NAME' if key.endswith('.') else ''}: {kind.about}" for key, kind in KINDS.items())
    parser = CommandParser(
        prog="lab ab",
        description="Measures two sides in turn, A B B A, in one session on one phone, until each figure is decided: "
        f"better, worse or same. A side is settings with commas between them, key=value, or {DEFAULT!r}. {settings}.",
        epilog="exit status: 0 nothing is worse; 1 at least one figure is worse, or the kernel complained; 12 nothing "
        "could be decided; 4, 10, 11 and 13 as with `lab run`. With --bisect 125 instead of 12, and 128 more than any "
        "other, which ends a `git bisect run`. docs/ab.md explains how it is decided.",
    )
    parser.add_argument("base", metavar="BASE", help="before, for example batch_size=1")
    parser.add_argument("cand", metavar="CAND", help="after, for example batch_size=32,comp_algorithm=zstd")
    add_measuring_options(parser)
    parser.add_argument("--bisect", action="store_true", help="exit statuses for `git bisect run`")
    parser.add_argument("-v", "--verbose", action="store_true", help="print all tables, not one screen")
    return parser


def add_measuring_options(parser: argparse.ArgumentParser) -> None:
    """Give a parser the options that say what is asked of two sides, how long, and on which phone."""
    parser.add_argument(
        "--question", action="append", choices=list(all_questions(None)),
        help=f"what is asked; repeatable; default: {', '.join(DEFAULT_QUESTIONS)}",
    )  # fmt: skip
    parser.add_argument("--metric", default="", metavar="NAME", help="one metric only, as docs/results.md names it")
    parser.add_argument(
        "--at", action="append", default=[], metavar="KEY=VALUE",
        help="a setting of both sides; with --metric also where='storage p50', one of its figures",
    )  # fmt: skip
    parser.add_argument(
        "--relevant",
        type=share,
        default=RELEVANT,
        metavar="PERCENT",
        help="least difference of interest (default: 5%%)",
    )
    parser.add_argument("--budget", default="10min", metavar="4min", help="how long at most (default: %(default)s)")
    parser.add_argument("--plan", choices=["quick", "standard", "nightly"], default="quick", help="sizes of a turn")
    parser.add_argument("--device", metavar="SERIAL|PROFILE|virtual", help="phone; default: as `lab run`")
    for name, about in (("kernel", "virtual phone's kernel"), ("arch", "its processor"), ("page-size", "its page")):
        parser.add_argument(f"--{name}", help=about)
    parser.add_argument("--seed", type=int, help="of every random choice; default: a new one, recorded")
    parser.add_argument("--results", type=Path, metavar="DIR", help="folder for the run's folder; default: results/")
    parser.add_argument("--dry-run", action="store_true", help="change nothing; print what would be changed")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Give pytest what ``main`` has checked, as one option."""
    parser.addoption("--ab", type=json.loads, metavar="JSON", help="set by ./lab ab")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> Iterator[int | None]:
    """Outermost: whatever ended it, a run or a refusal before one."""
    status: int | None = yield  # type: ignore[misc]
    asked = config.option.ab
    return bisect_status(int(status)) if status is not None and asked and asked["bisect"] else status  # type: ignore[return-value]


def bisect_status(status: int) -> int:
    """Return what `git bisect run` is told: good, bad, cannot be judged, or to stop."""
    if status == EXIT_NO_BASELINE:
        return EXIT_SKIP
    return status if status in (0, EXIT_FAILED) else EXIT_STOP + status
