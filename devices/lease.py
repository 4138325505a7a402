"""One run per phone, whoever of this host's users runs it.

The lease is a socket in Linux's abstract namespace, whose name says which phone. All users of a host share that
namespace, only one process can hold a name, and the kernel drops it with its holder: there is no file that could be
left over, planted, removed or read-protected. The kernel also tells who holds it. What it cannot tell, the run and
since when, is the name of a second socket beside it. Containers with a network of their own do not share the namespace.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import pwd
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from base.errors import EnvironmentRefused, UnreadableAnswer
from base.parsing import whole_number
from base.text import clean

_PREFIX = "zram-lab"
_ALL_NAMES = Path("/proc/net/unix")
# sun_path has 108 bytes, the first of which is the NUL that makes a name abstract.
_NAME_BYTES = 107
_ASKERS = 64


@dataclass(frozen=True, slots=True)
class Holder:
    """Who has a phone; ``run`` and ``since`` are empty where the holder did not say."""

    user: str
    pid: int
    run: str = ""
    since: str = ""

    def __str__(self) -> str:
        run = f", run {self.run}" if self.run else ""
        return f"user {self.user}, pid {self.pid}{run}{f', since {self.since}' if self.since else ''}"


def lease_key(boot_id: str, serialno: str, *, lives_in: str = "") -> str:
    """Name a phone that runs: the same by USB and by network, for every user, another one for every other phone.

    The serial number alone would not do, since cheap phones and emulators share theirs. The boot id is random.
    ``lives_in`` is where a phone is that cannot be reached from elsewhere (Transport).
    """
    return hashlib.sha256("\0".join((boot_id, serialno, lives_in)).encode(errors="surrogatepass")).hexdigest()[:24]


@contextmanager
def lease(key: str, run_id: str, *, phone: str = "") -> Iterator[None]:
    """Hold the phone ``key``, named ``phone`` in messages.

    Raises EnvironmentRefused that names the holder when another run has it.
    """
    with ExitStack() as stack:
        lock = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        try:
            lock.bind(f"\0{_PREFIX}/{key}")
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise EnvironmentRefused(f"{phone or key}: no lease can be taken: {error.strerror}") from error
            raise EnvironmentRefused(
                f"phone {phone or key} is in use by {held_by(key) or 'a run that ends just now'}",
                hint="wait until it ends, or end that process; the lease goes with it",
            ) from None
        lock.listen(_ASKERS)
        facts = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        said = f"{_facts(key)}{os.getpid()}/{user_name(os.geteuid())}/{int(time.time())}/{clean(run_id)}"
        # Only words for others; a run does without.
        with contextlib.suppress(OSError):
            facts.bind(f"\0{said}".encode()[:_NAME_BYTES])
        yield


def held_by(key: str) -> Holder | None:
    """Who has the phone ``key`` now, if anybody."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.setblocking(False)
        try:
            asking.connect(f"\0{_PREFIX}/{key}")
        except BlockingIOError:
            # Nobody takes askers out of the holder's queue, so after some dozens only its own words are left.
            return _said(key)
        except OSError:
            return None
        pid, uid, _ = struct.unpack("iII", asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return replace(_said(key), user=user_name(uid), pid=pid)


def _facts(key: str) -> str:
    return f"{_PREFIX}/{key}-run/"


def _said(key: str) -> Holder:
    """What the holder says of itself."""
    with contextlib.suppress(OSError):
        for line in _ALL_NAMES.read_text(encoding="utf-8", errors="replace").splitlines():
            _, found, words = line.partition(f" @{_facts(key)}")
            pid, user, since, run = (*clean(words).split("/", 3), "", "", "")[:4]
            if found:
                with contextlib.suppress(UnreadableAnswer, OverflowError):
                    begin = time.localtime(whole_number(since, "since when"))
                    return Holder(user, whole_number(pid, "its pid"), run, time.strftime("%FT%T%z", begin))
    return Holder("unknown", 0)


def user_name(uid: int) -> str:
    """A user's name on this host, or the number of one that has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
