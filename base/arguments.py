"""Options of the commands: what is wrong with them is exit status 4, as with profiles."""

from __future__ import annotations

import argparse
from typing import NoReturn

from base.errors import EXIT_USAGE, ProfileError


class CommandParser(argparse.ArgumentParser):
    """argparse's own exit status for a wrong option, 2, means an interrupted run here."""

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_USAGE, f"{self.prog}: {message}\n  -> {self.prog} --help explains its options\n")


def share(text: str) -> float:
    """Return ``5%`` or ``5`` as 0.05. Raises ArgumentTypeError, for argparse to tell."""
    number = text.removesuffix("%").strip()
    try:
        found = float(number) / 100
    except ValueError:
        found = 0.0
    if not 0 < found < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no percentage above 0 and below 100, for example 5%")
    return found


def number_list(option: str, text: str | None) -> tuple[int, ...] | None:
    """Return the numbers of ``1,8,32``; None where the option is not given. Raises ProfileError that names it."""
    if text is None:
        return None
    try:
        return tuple(int(word) for word in text.split(","))
    except ValueError:
        raise ProfileError(f"{option} {text}: not a list of numbers", hint="for example 1,8,32") from None
