"""Become a command that ends with its parent: ``python -IS born.py PARENT SIGNALS COMMAND...``.

Run by ``base.children``. A function between fork and exec would do the same, but is not safe in a process with threads:
with gRPC's, the child crashed now and then. ``SIGNALS`` are the numbers that stay blocked, with commas between them.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(parent: str, blocked: str, *command: str) -> None:
    """Ask the kernel for SIGTERM at the parent's end, then run the command in this process's place."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # one that waits ends this process without a traceback
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    for ignored_by_python in (signal.SIGPIPE, signal.SIGXFSZ):  # what is ignored stays so in the command
        signal.signal(ignored_by_python, signal.SIG_DFL)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    signal.pthread_sigmask(signal.SIG_SETMASK, {int(number) for number in blocked.split(",") if number})
    if os.getppid() != int(parent):
        sys.exit(128 + signal.SIGTERM)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(*sys.argv[1:])
