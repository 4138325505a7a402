"""``./lab pack RUN...``: a folder to send, without what tells whose phone, apps and computer it was."""

from __future__ import annotations

from pathlib import Path

from base.arguments import CommandParser
from base.output import tell
from reports.pack import pack_runs


def main(argv: list[str]) -> int:
    """Pack each run and say where; nothing is written where one of them is no run."""
    parser = CommandParser(
        prog="lab pack",
        description="Writes a new folder for each run: the same figures; no serial, build, app, path, user, computer. "
        "Runs that are packed together may be compared: the same phone has the same word in all of them.",
    )
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help="a folder below results/, or its results.jsonl"
    )
    parser.add_argument(
        "--to", type=Path, default=Path("packs"), metavar="DIR", help="where the folders go (default: packs/)"
    )
    arguments = parser.parse_args(argv)
    for packed in pack_runs(arguments.runs, arguments.to):
        for problem in packed.left_out:
            tell(f"left out: {problem}")
        print(f"pack: {packed.folder}")
    print("look at report.txt before you send it: what a person wrote into a profile or a test's name stands as it is")
    return 0
