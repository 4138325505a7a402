"""What a fit phone's shell answers at a fake adb server (tests/fake_adb_server.py): each operation of a script."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping

from tests.fake_adb_server import Reply, Shell, packet, token_of

_STDOUT, _STDERR, _EXIT = 1, 2, 3
_READ = re.compile(r"^_r (.+) \|\| (?::|_e)$")
_EXEC = re.compile(r"^(.+) </dev/null; s=\$\?; ")
_BATTERY = "Current Battery Service state:\n  present: true\n  level: {level}\n  scale: 100\n  temperature: {tenths}\n"
_ZRAM = "\n".join(
    f"/sys/block/zram0/{name}" for name in ("backing_dev", "writeback", "writeback_batch_size", "comp_algorithm")
)


def ready_answers(serial: str, **changes: str) -> dict[str, str]:
    """What it answers to each read and command; ``changes`` by the names below."""
    told = {"level": "80", "tenths": "250", "mode": "rw", "kernel": "6.6.30-android15", "zram": _ZRAM} | changes
    boot = "4f0c2b1e-0000-4000-8000-" + serial.encode().hex()[:12].rjust(12, "0")
    return {
        "id -u": "0",
        "/proc/sys/kernel/random/boot_id": boot,
        "getprop ro.serialno": serial,
        "getprop": "[ro.product.model]: [Pixel 8]\n[ro.product.device]: [shiba]\n[ro.build.fingerprint]: [g/b/1]",
        "uname -r": told["kernel"],
        "uname -v": "#1 SMP",
        "uname -m": "aarch64",
        "getconf PAGE_SIZE": "4096",
        "/proc/meminfo": "MemTotal:        8000000 kB",
        "/proc/stat": "cpu0 1 2 3\ncpu1 1 2 3",
        "getenforce": "Permissive",
        "sh -c 'ls -d /sys/block/zram*/*'": told["zram"],
        "/proc/filesystems": "\tf2fs",
        "dumpsys battery": _BATTERY.format(**told),
        "/proc/mounts": f"/dev/block/dm-5 /data f2fs {told['mode']},noatime 0 0",
    }


def ready_shell(answers: Mapping[str, str], *, seen: Callable[[], None] = lambda: None) -> Shell:
    """A shell that answers these; what it does not know has no output and exit status 1."""

    def answer(script: str) -> tuple[bytes, Reply]:
        seen()
        token, out, err = token_of(script), "", ""
        for number, asked in enumerate(filter(None, map(_operation, script.splitlines()))):
            text, status = (answers[asked], 0) if asked in answers else ("", 1)
            out += f"{text}\n\n{token} {number} {status}\n" if text else f"\n{token} {number} {status}\n"
            err += f"\n{token} {number}\n"
        err += f"{token} end 1.0 1.1 1.0 1.1\n"
        return packet(_STDOUT, out.encode()) + packet(_STDERR, err.encode()) + packet(_EXIT, b"\0"), Reply.close

    return answer


def _operation(line: str) -> str:
    """The path that a line reads, or the command that it runs; nothing for any other line."""
    if read := _READ.match(line):
        return shlex.split(read[1])[0]
    return found[1] if (found := _EXEC.match(line)) else ""
