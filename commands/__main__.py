"""``python -m commands COMMAND ARGUMENTS``: what ``./lab`` hands over to."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module

from base.errors import EXIT_INTERNAL, EXIT_INTERRUPTED, EXIT_USAGE, LabError
from base.output import open_closed_descriptors, status_with, surviving_output, tell
from base.paths import keep_trace
from commands.table import table


def main(argv: Sequence[str]) -> int:
    """Run one command; returns the exit status. Whatever goes wrong is one message on stderr."""
    open_closed_descriptors()
    with surviving_output() as (stdout, _):
        return status_with(_status(argv), stdout)


def _status(argv: Sequence[str]) -> int:
    names = [row.name for row in table()]
    if not argv or argv[0] not in names:
        near = get_close_matches(argv[0], names, 1) if argv else []
        meant = f"; did you mean {near[0]!r}?" if near else ""
        tell(f"{f'unknown command {argv[0]!r}' if argv else 'no command'}{meant}\n  -> commands: {' '.join(names)}")
        return EXIT_USAGE
    try:
        status: int = import_module(f"commands.{argv[0]}").main(list(argv[1:]))
    except LabError as error:
        tell(error.for_people())
        return error.exit_status
    except KeyboardInterrupt:
        tell("interrupted")
        return EXIT_INTERRUPTED
    except SystemExit as ended:  # argparse, after --help or a wrong option
        return ended.code if isinstance(ended.code, int) else EXIT_USAGE if ended.code else 0
    except Exception as error:  # noqa: BLE001 the last one who can say it in words
        tell(internal_error(argv[0], error))
        return EXIT_INTERNAL
    return status


def internal_error(what: str, error: BaseException) -> str:
    """What people are told of an error that nobody foresaw; how it came about is kept in a file."""
    trace = keep_trace("".join(traceback.format_exception(error)))
    advice = "this is a fault of the lab, not yours" + (f"; please report it with {trace}" if trace else "")
    return f"internal error in {what}: {type(error).__name__}: {error}\n  -> {advice}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
