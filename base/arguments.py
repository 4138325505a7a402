"""Options of the commands: what is wrong with them is exit status 4, as with profiles."""

from __future__ import annotations

import argparse
from typing import NoReturn

from base.errors import EXIT_USAGE


class CommandParser(argparse.ArgumentParser):
    """argparse's own exit status for a wrong option, 2, means an interrupted run here."""

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_USAGE, f"{self.prog}: {message}\n  -> {self.prog} --help explains its options\n")
