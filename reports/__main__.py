"""``report RUN...``: render stored runs again."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from reports.errors import ReportError
from reports.render import render_all


def main(argv: Sequence[str] | None = None) -> int:
    """Run one of this package's commands; returns the exit status."""
    parser = argparse.ArgumentParser(prog="lab", description="Reports from stored results.")
    commands = parser.add_subparsers(dest="command", required=True)
    report = commands.add_parser("report", help="render text, HTML and CSV again from stored results")
    report.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help="a folder below results/, or its results.jsonl"
    )
    report.add_argument(
        "--mail", action="store_true", help="print the 72 columns for a mail instead of the full tables"
    )
    report.set_defaults(act=_report)
    arguments = parser.parse_args(argv)
    status: int = arguments.act(arguments)
    return status


def _report(arguments: argparse.Namespace) -> int:
    """Every run that can be rendered is, and the first error decides the exit status."""
    status = 0
    for run in arguments.runs:
        try:
            rendered = render_all(run)
        except ReportError as error:
            print(f"error: {error.for_people()}", file=sys.stderr)
            status = status or error.exit_status
            continue
        print(rendered.mail if arguments.mail else rendered.text)
        for kind, path in rendered.paths.items():
            print(f"{kind + ':':<6}{path}")
    return status


if __name__ == "__main__":
    sys.exit(main())
