"""``./lab doctor``, ``validate`` and ``restore``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from base.errors import EXIT_USAGE, LabError


def main(argv: Sequence[str]) -> int:
    from devices.doctor import doctor, restore
    from devices.validate import validate

    commands: dict[str, Callable[[list[str]], int]] = {"doctor": doctor, "validate": validate, "restore": restore}
    if not argv or argv[0] not in commands:
        print(f"expected one of: {', '.join(commands)}", file=sys.stderr)
        return EXIT_USAGE
    try:
        return commands[argv[0]](list(argv[1:]))
    except LabError as error:
        print(f"lab: {error.for_people()}", file=sys.stderr)
        return error.exit_status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
