"""Processes that live and end with this one: signals reach them, and their ends are waited for."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
from collections.abc import Iterable, Sequence

_PR_SET_PDEATHSIG = 1
# siginfo's si_code of a signal that the kernel sent, as a terminal's Ctrl-C: the whole group has it already.
_SI_KERNEL = 0x80
_LIBC = ctypes.CDLL(None, use_errno=True)


def run_together(commands: Iterable[Sequence[str]]) -> list[int]:
    """Start all commands at once and wait for all of them; returns their exit statuses (-N: killed by signal N).

    SIGINT, SIGTERM and SIGHUP go on to every child that still runs, which has its own way to end; then the wait goes
    on, because what a child puts back takes its time. A child whose parent dies gets SIGTERM.
    """
    forwarded = {signal.SIGINT, signal.SIGTERM}
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as under nohup
        forwarded.add(signal.SIGHUP)
    # Blocked signals wait until they are taken below: none is lost between the start and the wait.
    waited_for = forwarded | {signal.SIGCHLD}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, waited_for)
    children: list[subprocess.Popen[bytes]] = []
    try:
        parent = os.getpid()

        def in_child() -> None:
            _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            if os.getppid() != parent:
                os._exit(128 + signal.SIGTERM)

        for command in commands:
            children.append(subprocess.Popen(command, preexec_fn=in_child))
        while any(child.poll() is None for child in children):
            sent = signal.sigwaitinfo(waited_for)
            if sent.si_signo != signal.SIGCHLD and sent.si_code != _SI_KERNEL:
                _send(children, sent.si_signo)
    except BaseException:
        _send(children, signal.SIGTERM)
        raise
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return [child.returncode for child in children]


def _send(children: Sequence[subprocess.Popen[bytes]], number: int) -> None:
    for child in children:
        if child.poll() is None:
            child.send_signal(number)
