"""Operations as one shell script, and its output taken apart again.

Only what mksh and toybox have. Every operation is followed by a marker line with a random token on both streams, so an
answer that was cut short cannot pass for a whole one; the last marker carries the phone's own clock.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from devices.transport import CommandResult, Exec, Op, Read, Write

# The underscores: mksh has an alias r of its own. _m: the marker on both streams. _r: "missing" is told apart from
# "unreadable". _w: one write(2) by the shell's own print. EPOCHREALTIME is mksh's (R57 and newer); where it is empty
# the phone cannot time itself.
_PRELUDE = """\
T={token}; B=$EPOCHREALTIME; n=0
_m() {{ echo; echo "$T $n $1"; echo >&2; echo "$T $n" >&2; n=$((n+1)); }}
_r() {{ if [ -e "$1" ]; then cat "$1"; else (exit 250); fi; s=$?; _m $s; return $s; }}
_w() {{ print -rn -- "$2" > "$1"; s=$?; _m $s; return $s; }}
_e() {{ echo "$T end ${{B:-0}} ${{EPOCHREALTIME:-0}}" >&2; exit 0; }}
"""
_MISSING = 250


def compile_script(ops: Sequence[Op], token: str, *, keep_going: bool) -> str:
    """A script for mksh that carries out ``ops`` in order and marks the end of each."""
    otherwise = ":" if keep_going else "_e"
    lines = [_PRELUDE.format(token=token)]
    for op in ops:
        match op:
            case Read(path):
                lines.append(f"_r {shlex.quote(path)} || {otherwise}")
            case Write(path, value):
                lines.append(f"_w {shlex.quote(path)} {shlex.quote(value)} || {otherwise}")
            case Exec(argv, accept):
                good = "|".join(str(status) for status in accept)
                lines.append(
                    f"{shlex.join(argv)} </dev/null; s=$?; _m $s; case $s in {good}) ;; *) {otherwise} ;; esac"
                )
    return "\n".join([*lines, "_e", ""])


@dataclass(frozen=True, slots=True)
class Answer:
    """``on_phone_s`` is None where the phone's shell has no clock."""

    results: list[CommandResult]
    on_phone_s: float | None


def parse_answer(ops: Sequence[Op], token: str, stdout: str, stderr: str) -> Answer | None:
    """The results of a script made by compile_script; None when the answer is not complete."""
    end = re.search(rf"^{token} end ([\d.,]+) ([\d.,]+)\n", stderr, re.MULTILINE)
    if end is None:
        return None
    results: list[CommandResult] = []
    for number, op in enumerate(ops):
        out = re.search(rf"\n{token} {number} (\d+)\n", stdout)
        err = re.search(rf"\n{token} {number}\n", stderr)
        if out is None or err is None:
            results.append(CommandResult(op, 0, "", "", skipped=True))
            continue
        status = int(out[1])
        missing = isinstance(op, Read) and status == _MISSING
        results.append(CommandResult(op, status, stdout[: out.start()], stderr[: err.start()], missing=missing))
        stdout, stderr = stdout[out.end() :], stderr[err.end() :]
    begin_s, end_s = (float(clock.replace(",", ".")) for clock in end.groups())
    return Answer(results, end_s - begin_s if begin_s else None)
