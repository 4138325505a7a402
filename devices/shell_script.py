"""Operations as one shell script, and its output taken apart again.

Only what mksh and toybox have. Every operation is followed by a marker line with a random token on both streams, so an
answer that was cut short cannot pass for a whole one; the last marker carries the phone's own clock.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from base.errors import UnreadableAnswer
from base.parsing import whole_number
from devices.transport import CommandResult, Exec, Op, Read, Write

# The underscores: mksh has an alias r of its own. _m: the marker on both streams. _r: "missing" is told apart from
# "unreadable". _w: one write(2) by the shell's own print. EPOCHREALTIME is mksh's (R57 and newer) and exact, but jumps
# when somebody sets the phone's clock; the uptime does not, but has steps of 10 ms.
_PRELUDE = """\
T={token}; B=$EPOCHREALTIME; n=0
{{ read -r U V </proc/uptime; }} 2>/dev/null
_m() {{ echo; echo "$T $n $1"; echo >&2; echo "$T $n" >&2; n=$((n+1)); }}
_r() {{ if [ -e "$1" ]; then cat "$1"; else (exit 250); fi; s=$?; _m $s; return $s; }}
_w() {{ print -rn -- "$2" > "$1"; s=$?; _m $s; return $s; }}
_e() {{
E=$EPOCHREALTIME; V=
{{ read -r V W </proc/uptime; }} 2>/dev/null
echo "$T end ${{B:-0}} ${{E:-0}} ${{U:-0}} ${{V:-0}}" >&2; exit 0
}}
"""
_MISSING = 250
_CLOCK = re.compile(r"[0-9]{1,12}(?:[.,][0-9]{1,9})?")
_UPTIME_STEP_S = 0.011


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
    """The results of a script made by compile_script; None when the answer is not complete.

    Raises UnreadableAnswer for an exit status that is none.
    """
    end = re.search(rf"^{token} end (\S+) (\S+)(?: (\S+) (\S+))?\n", stderr, re.MULTILINE)
    if end is None:
        return None
    results: list[CommandResult] = []
    out_at = err_at = 0
    for number, op in enumerate(ops):
        out = re.compile(rf"\n{token} {number} (\S+)\n").search(stdout, out_at)
        err = re.compile(rf"\n{token} {number}\n").search(stderr, err_at)
        if out is None or err is None:
            results.append(CommandResult(op, 0, "", "", skipped=True))
            continue
        status = _status(out[1], op)
        missing = isinstance(op, Read) and status == _MISSING
        text, words = stdout[out_at : out.start()], stderr[err_at : err.start()]
        results.append(CommandResult(op, status, text, words, missing=missing))
        out_at, err_at = out.end(), err.end()
    begin, now, up_begin, up_now = (_clock(text) for text in end.groups())
    return Answer(results, _elapsed(begin, now, up_begin, up_now))


def elapsed_by(begin: str, end: str) -> float | None:
    """Seconds between two readings of the phone's exact clock; None where it has none, or says what no clock says."""
    first, last = _clock(begin), _clock(end)
    return last - first if first is not None and last is not None else None


def _status(text: str, op: Op) -> int:
    status = whole_number(text, f"{op}: exit status")
    if not 0 <= status <= 255:
        raise UnreadableAnswer(f"{op}: exit status {status} is none")
    return status


def _clock(text: str | None) -> float | None:
    """Seconds, or None where the phone has no such clock, or it does not say what a clock says."""
    found = _CLOCK.fullmatch(text or "")
    return (float(found[0].replace(",", ".")) or None) if found else None


def _elapsed(begin: float | None, end: float | None, up_begin: float | None, up_end: float | None) -> float | None:
    """By the exact clock, unless it was set meanwhile."""
    exact = end - begin if begin is not None and end is not None else None
    steady = up_end - up_begin if up_begin is not None and up_end is not None else None
    if exact is None or steady is None:
        return exact if steady is None else steady
    return exact if abs(exact - steady) <= _UPTIME_STEP_S + steady / 100 else steady
