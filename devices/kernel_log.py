"""What a phone's kernel says of itself: what must fail a test, what is only noted, and what SELinux denied.

Kernels of phones warn again and again of drivers that a measurement never meets. A warning counts when it is of what is
measured through: memory, zram, block layer, loop devices, file systems, UFS. What breaks the kernel as a whole, or
stops it for a time, counts whoever did it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

MARKER = "zram-writeback-lab:"
# The kernel's own limit is 1 KiB; what is longer is not its.
_LONGEST_LINE = 1024
# A report with two stacks and registers has fewer lines.
_REPORT_LINES = 120

_DISK = r"(?:loop|zram|dm-|sd[a-z]|vd[a-z]|mmcblk0|nvme)\w*"
_BROKEN = re.compile(
    # Not the end of another word: drivers print DEBUG:, and name functions so.
    r"(?<![A-Za-z_])BUG: |kernel BUG at|\bOops(?: - |: |\[)|Internal error: |Unable to handle kernel|Kernel panic"
    r"|general protection fault|INFO: task .{1,64} blocked (?:in I/O wait )?for more than [0-9]+ seconds"
    r"|INFO: rcu\w* (?:self-)?detected|rcu\w*: .{0,40}kthread starved|\b(?:soft|hard) (?:lockup|LOCKUP)"
    r"|Out of memory\b"
)  # fmt: skip
_STORAGE = re.compile(
    rf"(?<!not supported )error, dev {_DISK}|Buffer I/O error on dev(?:ice)? {_DISK}"
    r"|(?:Read|Write)-error on swap-device|loop: Write error|EXT4-fs error|Aborting journal on device|JBD2: .*[Ee]rror"
    r"|F2FS-fs \([^)]*\): .*(?i:error|corrupt|invalid|inconsisten|mismatch|\bfail|fsck|\bwrong|stopped file ?system)"
    r"|zram\w*: .*(?i:compression failed|error allocating)|Bad swap (?:file|offset) entry"
    r"|ufshcd_(?:abort|err_handler|eh_\w+|print_host_state)|\bufshcd.*(?:fatal error|UIC error|timed out)"
)  # fmt: skip
_WARNING = re.compile(r"(?<![A-Za-z_])WARNING: |UBSAN: |page allocation failure: |(?:I/O|medium) error, dev ")
# What is said of I/O that failed, where that is what was wanted.
_IO_FAILED = re.compile(
    r"error, dev |Buffer I/O error|loop: Write error|EXT4-fs|JBD2|Aborting journal|(?:Read|Write)-error on swap-device"
)
_STACK = re.compile(r"Call [Tt]race:|Backtrace:")
_END = re.compile(r"---\[ end trace|={20}")
_SOURCE = re.compile(r"(?:[\w.+-]+/)*[\w.+-]+\.[chS](?=:[0-9])")
_OUR_DRIVER = re.compile(r"drivers/(?:block|scsi|ufs|md)/|/ufs[\w-]*[/.]|zram")
_OUR_SOURCE = re.compile(r"(?:^|/)(?:mm/|block/|fs/(?:f2fs/|ext4/|jbd2/|crypto/|verity/|iomap/|[\w.+-]+\.[chS]$))")
# Code that anybody calls; who did is in the stack.
_ANYBODYS_SOURCE = re.compile(r"(?:^|/)(?:kernel|lib|arch|include)/")
_OUR_CODE = re.compile(
    r"\b(?:zram|zcomp|zs|loop|lo|f2fs|ext4|jbd2|ufshcd|blk|bio|swap)_\w+(?:\.\w+)*\+0x"
    r"|\[(?:zram|zsmalloc|loop|f2fs|ext4)\]|Workqueue: loop"
)
# The kernel's report of a process that it killed for lack of memory, its stack included.
_KILL_BEGINS, _KILL_ENDS = "invoked oom-killer", "Killed process"


@dataclass(frozen=True, slots=True)
class KernelNews:
    """First lines of what a kernel reported: ``faults`` are against a measurement, ``noted`` may well be of others."""

    faults: tuple[str, ...]
    noted: tuple[str, ...]
    text: tuple[str, ...] = ()
    """all lines of the faults' reports"""


def since_marker(log: str) -> str:
    """What came behind the last line of ours; all of it where the kernel's buffer holds that line no more."""
    return log.rpartition(MARKER)[2]


def kernel_news(log: str, *, kills_expected: bool = False, storage_fails: bool = False) -> KernelNews:
    """What a part of the kernel's log reports.

    ``kills_expected``: that memory ran out is what was wanted; ``storage_fails``: that reads and writes failed is.
    """
    lines = [line[:_LONGEST_LINE] for line in log.splitlines()]
    if kills_expected:
        lines = list(_without_kills(lines))
    faults: list[str] = []
    noted: list[str] = []
    text: list[str] = []
    told_until = 0
    for number, line in enumerate(lines):
        broken = _BROKEN.search(line) or _STORAGE.search(line)
        if not broken and not _WARNING.search(line):
            # A stack without a word on why belongs to what stands before it.
            if _STACK.search(line) and number >= told_until:
                noted.append(lines[max(0, number - 1)])
            continue
        report = _report(lines, number)
        told_until = number + len(report)
        wanted = storage_fails and not _BROKEN.search(line) and _IO_FAILED.search(line)
        if not wanted and (broken or _is_ours(report)):
            faults.append(line)
            text += report
        else:
            noted.append(line)
    return KernelNews(tuple(faults), tuple(noted), tuple(text))


def _without_kills(lines: Sequence[str]) -> Iterator[str]:
    ends = [number for number, line in enumerate(lines) if _KILL_ENDS in line]
    inside_until = -1
    for number, line in enumerate(lines):
        if number > inside_until and _KILL_BEGINS in line:
            inside_until = next((end for end in ends if end >= number), -1)
        if number > inside_until:
            yield line


def _report(lines: Sequence[str], begin: int) -> list[str]:
    """The lines of the report that begins there: up to its end mark or the next one's beginning."""
    report = [lines[begin]]
    for line in lines[begin + 1 : begin + _REPORT_LINES]:
        if _END.search(line) or _BROKEN.search(line) or _STORAGE.search(line) or _WARNING.search(line):
            break
        report.append(line)
    return report


def _is_ours(report: Sequence[str]) -> bool:
    """Whether a warning is of what is measured through: by its source file, or by the stack for code of anybody's."""
    source = _SOURCE.search(report[0])
    if source and "drivers/" in source[0]:
        return _OUR_DRIVER.search(source[0]) is not None
    if source and "arch/" not in source[0] and _OUR_SOURCE.search(source[0]):
        return True
    if source and not _ANYBODYS_SOURCE.search(source[0]):
        return False
    return any(_OUR_CODE.search(line) for line in report)


_DENIED = re.compile(r"avc: +denied")
_OF_FILES = re.compile(r"tclass=(?:file|blk_file|dir)\b")
_PATH = re.compile(r'(?:path|name)="([^"]*)"')


def selinux_denial(log: str, path: str | None) -> str | None:
    """The last line in which SELinux kept the kernel from the backing file; None when no line says so.

    The I/O of a loop device is done by the kernel, under the name of any worker. A line that names neither ``path`` nor
    its folder counts only if none does: what it names may be the same file, seen from elsewhere.
    """
    denied = [
        line[:_LONGEST_LINE]
        for line in log.splitlines()
        if _DENIED.search(line)
        and "scontext=u:r:kernel:s0" in line
        and re.search(r"tclass=(?:file|blk_file|dir)\b", line)
    ]
    folder, _, name = (path or "").rpartition("/")
    named = [line for line in denied if (found := _PATH.search(line)) and _is_at(found[1], folder, name)]
    return next(reversed(named or denied), None)


def _is_at(seen: str, folder: str, name: str) -> bool:
    return bool(name) and (seen in (folder, name) or seen.startswith(f"{folder}/"))
