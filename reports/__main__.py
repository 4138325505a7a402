"""``report RUN...``: render stored runs again. ``compare BASE CAND``: before against after."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from base.errors import EXIT_USAGE, LabError
from reports.comparison.compare import RELEVANT
from reports.comparison.render import FORMATS, report_comparison
from reports.render import render_all


class _Parser(argparse.ArgumentParser):
    """argparse's own exit status for a wrong option, 2, means an interrupted run here."""

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_USAGE, f"{self.prog}: {message}\n  -> {self.prog} --help explains its options\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one of this package's commands; returns the exit status."""
    parser = _Parser(prog="lab", description="Reports from stored results.")
    commands = parser.add_subparsers(dest="command", required=True)
    report = commands.add_parser("report", help="render text, HTML and CSV again from stored results")
    report.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help="a folder below results/, or its results.jsonl"
    )
    report.add_argument(
        "--mail", action="store_true", help="print the 72 columns for a mail instead of the full tables"
    )
    report.set_defaults(act=_report)
    _add_compare(commands)
    arguments = parser.parse_args(argv)
    status: int = arguments.act(arguments)
    return status


def _add_compare(commands: argparse._SubParsersAction[_Parser]) -> None:
    compare = commands.add_parser(
        "compare",
        help="before against after, with verdicts",
        description="Compares two runs or groups of runs, figure by figure: better, worse, same or not enough data.",
        epilog="exit status: 0 no regression; 1 at least one figure is worse; 12 nothing to compare, or nothing could "
        "be decided; 4 a side that cannot be read or may not be compared. How verdicts are made: docs/comparing.md",
    )
    side = "a run's folder, its results.jsonl, or a glob in quotes: 'results/*-before'"
    compare.add_argument("base", metavar="BASE", help=f"before: {side}")
    compare.add_argument("cand", metavar="CAND", help="after: the same")
    compare.add_argument("--format", choices=FORMATS, default="table", help="default: %(default)s; mail has 72 columns")
    compare.add_argument(
        "--relevant",
        type=_share,
        default=RELEVANT,
        metavar="PERCENT",
        help="least difference that is of interest (default: 5%%)",
    )
    compare.add_argument(
        "-o", dest="out", type=Path, metavar="FILE", help="write there; html without it: compare.html in this folder"
    )
    compare.set_defaults(act=_compare)


def _share(text: str) -> float:
    """``5%`` or ``5`` as 0.05."""
    number = text.removesuffix("%").strip()
    try:
        share = float(number) / 100
    except ValueError:
        share = 0.0
    if not 0 < share < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no percentage above 0 and below 100, for example 5%")
    return share


def _compare(arguments: argparse.Namespace) -> int:
    try:
        return report_comparison(
            arguments.base, arguments.cand, relevant=arguments.relevant, form=arguments.format, out=arguments.out
        )
    except LabError as error:
        print(f"error: {error.for_people()}", file=sys.stderr)
        return error.exit_status


def _report(arguments: argparse.Namespace) -> int:
    """Every run that can be rendered is, and the first error decides the exit status."""
    status = 0
    for run in arguments.runs:
        try:
            rendered = render_all(run)
        except LabError as error:
            print(f"error: {error.for_people()}", file=sys.stderr)
            status = status or error.exit_status
            continue
        print(rendered.mail if arguments.mail else rendered.text)
        for kind, path in rendered.paths.items():
            print(f"{kind + ':':<6}{path}")
    return status


if __name__ == "__main__":
    sys.exit(main())
