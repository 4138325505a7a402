"""``./lab validate``: the same checks of a profile as a run makes."""

from __future__ import annotations

import sys

from base.arguments import CommandParser
from base.errors import EXIT_USAGE, ProfileError
from devices.profiles.reading import known, load


def main(argv: list[str]) -> int:
    """Checks every profile named (without names: all known ones); exit status 4 if any of them is wrong."""
    parser = CommandParser(
        prog="lab validate", description="Check profiles: names or paths; without any, all known ones."
    )
    parser.add_argument("profiles", nargs="*", metavar="PROFILE")
    wanted: list[str] = parser.parse_args(argv).profiles
    hints: dict[str, None] = {}
    for name in list(dict.fromkeys(wanted)) or known():
        try:
            load(name)
        except ProfileError as error:
            print(error, file=sys.stderr)
            hints[error.hint] = None
        else:
            print(f"{name}: ok")
    for hint in filter(None, hints):
        print(f"  -> {hint}", file=sys.stderr)
    return EXIT_USAGE if hints else 0
