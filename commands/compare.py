"""``./lab compare BASE CAND``: before against after, with verdicts."""

from __future__ import annotations

from pathlib import Path

from base.arguments import CommandParser, share
from records.intervals import RELEVANT
from reports.comparison.render import FORMATS, report_comparison


def main(argv: list[str]) -> int:
    """Compare two runs or groups of runs; the exit status says whether anything is worse."""
    parser = CommandParser(
        prog="lab compare",
        description="Compares two runs or groups of runs, figure by figure: better, worse, same or not enough data.",
        epilog="exit status: 0 no regression; 1 at least one figure is worse; 12 nothing to compare, or nothing could "
        "be decided; 4 a side that cannot be read or may not be compared. How verdicts are made: docs/comparing.md",
    )
    side = "a run's folder, its results.jsonl, or a glob in quotes: 'results/*-before'"
    parser.add_argument("base", metavar="BASE", help=f"before: {side}")
    parser.add_argument("cand", metavar="CAND", help="after: the same")
    parser.add_argument(
        "--format",
        choices=FORMATS,
        default="table",
        help="default: %(default)s, one screen; mail: 40 lines of 72 columns",
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="the table has every figure, not one screen")
    parser.add_argument(
        "--relevant",
        type=share,
        default=RELEVANT,
        metavar="PERCENT",
        help="least difference that is of interest (default: 5%%)",
    )
    parser.add_argument(
        "-o", dest="out", type=Path, metavar="FILE", help="write there; html without it: compare.html in this folder"
    )
    wanted = parser.parse_args(argv)
    return report_comparison(
        wanted.base, wanted.cand, relevant=wanted.relevant, form=wanted.format, out=wanted.out,
        everything=wanted.verbose,
    )  # fmt: skip
