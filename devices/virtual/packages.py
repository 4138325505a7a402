"""Signed Debian packages unpacked into a folder with mmdebstrap, without root and without the host's apt sources.

mmdebstrap's chrootless mode with its extract variant only downloads, verifies and unpacks: it needs neither root nor
user namespaces, and no script of a package is run.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from base.errors import EnvironmentRefused
from devices.virtual.machines import MACHINES, Machine, of_host

SUITE = "trixie"
DEFAULT_MIRROR = "http://deb.debian.org/debian"
MIRROR_VARIABLE = "ZRAM_LAB_MIRROR"
HOOKS = Path(__file__).parent / "build"

_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_TIMEOUT_S = 600
_INSTALL = "sudo apt-get install mmdebstrap debian-archive-keyring"
_ANOTHER_MIRROR = f"another Debian mirror: --mirror URL, or ${MIRROR_VARIABLE}"

# What apt and mmdebstrap say (in the C locale), what that means, and what to do about it.
_COMPLAINTS = (
    (
        r"No space left on device",
        "the host's disk is full",
        "Free some room, or put the cache elsewhere with $ZRAM_LAB_CACHE.",
    ),
    (
        r"Hash Sum mismatch|has unexpected size|Hashes of expected file",
        "what the mirror sent is not what Debian signed: damaged or changed on the way, or the mirror is being updated",
        f"Nothing of it was used. Try again in some minutes; if it stays, use {_ANOTHER_MIRROR}.",
    ),
    (
        r"NO_PUBKEY|BADSIG|is not signed|signatures were invalid|EXPKEYSIG|Clearsigned file isn't valid",
        "the mirror's signature is not one of Debian's",
        "Nothing of it was used. Bring debian-archive-keyring up to date, or use " + _ANOTHER_MIRROR + ".",
    ),
    (
        r"does not have a Release file|404 +Not Found|Unable to locate package",
        "this mirror does not have what is needed",
        f"It must carry {', '.join(sorted({SUITE, *(m.suite for m in MACHINES)}))}. Use {_ANOTHER_MIRROR}.",
    ),
    (
        r"Release file .* (expired|is not valid yet)|Clock skew",
        "the mirror's release file is too old, or this host's clock is wrong",
        f"Check the clock (date); else use {_ANOTHER_MIRROR}.",
    ),
    (
        r"Could not (resolve|connect)|Temporary failure|Failed to fetch|Unable to connect|timed out|Err:",
        "the mirror cannot be reached",
        f"Check the network and apt's proxy settings, or use {_ANOTHER_MIRROR}.",
    ),
)


@dataclass(frozen=True, slots=True)
class Mirror:
    """Where Debian packages come from, and who chose that."""

    url: str
    chosen_by: str


def choose_mirror(option: str | None = None, *, etc_apt: Path = Path("/etc/apt")) -> Mirror:
    """The option, else the environment, else the Debian mirror of the host's apt, else Debian's own."""
    if option:
        return Mirror(option, "--mirror")
    if given := os.environ.get(MIRROR_VARIABLE):
        return Mirror(given, f"${MIRROR_VARIABLE}")
    if host := _mirror_of_host(etc_apt):
        return Mirror(host, "the host's apt")
    return Mirror(DEFAULT_MIRROR, "default")


def _mirror_of_host(etc_apt: Path) -> str | None:
    """The first enabled source whose URL ends in /debian: that is how mirrors of Debian's main archive are named."""
    listed = etc_apt / "sources.list.d"
    files = [etc_apt / "sources.list", *sorted(listed.glob("*.list")), *sorted(listed.glob("*.sources"))]
    for file in files:
        if not file.is_file():
            continue
        text = file.read_text(encoding="utf-8", errors="replace")
        for url in _urls_deb822(text) if file.suffix == ".sources" else _urls_one_line(text):
            if re.fullmatch(r"https?://\S+/debian/?", url):
                return url.rstrip("/")
    return None


def _urls_one_line(text: str) -> list[str]:
    return re.findall(r"^deb\s+(?:\[[^\]]*\]\s+)?(\S+)", text, re.MULTILINE)


def _urls_deb822(text: str) -> list[str]:
    urls: list[str] = []
    for stanza in re.split(r"\n\s*\n", text):
        if not re.search(r"^Enabled:\s*(no|false|off|0)\s*$", stanza, re.MULTILINE | re.IGNORECASE):
            urls += [url for line in re.findall(r"^URIs:(.*)$", stanza, re.MULTILINE) for url in line.split()]
    return urls


def require_tools() -> None:
    """Raises EnvironmentRefused if this host cannot unpack Debian packages or run what is in them."""
    of_host()
    for program in ("mmdebstrap", "apt-get", "dpkg-deb"):
        if shutil.which(program) is None:
            raise EnvironmentRefused(f"{program} is missing on this host", hint=_INSTALL)
    if not _KEYRING.is_file():
        raise EnvironmentRefused(f"{_KEYRING}: Debian's keys are missing on this host", hint=_INSTALL)


def extract(include: Sequence[str], into: Path, mirror: Mirror, *, debian: str, log: Path) -> dict[str, str]:
    """Packages with their dependencies, unpacked into the new folder ``into``; their versions by name.

    ``debian`` is the architecture as Debian calls it; it need not be the host's.
    """
    listing = into.with_name(f"{into.name}.packages")
    arguments = [
        "--variant=extract",
        f"--include={','.join(include)}",
        f"--extract-hook={HOOKS / 'list-packages'}",
    ]
    done = _mmdebstrap(
        arguments, into, mirror, suite=SUITE, debian=debian, log=log, environment={"LAB_PACKAGES": str(listing)}
    )
    if done:
        raise _refused(log, mirror)
    # Nobody reads these here, and they are half of the files.
    for unread in ("doc", "man", "locale", "info"):
        shutil.rmtree(into / "usr/share" / unread, ignore_errors=True)
    versions = _versions(listing)
    listing.unlink()
    return versions


def extract_kernel(machine: Machine, into: Path, mirror: Mirror, *, log: Path) -> tuple[str, dict[str, str]]:
    """The newest Debian kernel for the machine, unpacked into ``into``; its release and packages."""
    scratch = into.with_name(f"{into.name}.apt")
    arguments = ["--variant=custom", f"--customize-hook={HOOKS / 'fetch-kernel'}"]
    environment = {"LAB_KERNEL": machine.kernel, "LAB_FLAVOUR": machine.flavour, "LAB_DESTINATION": str(into)}
    done = _mmdebstrap(
        arguments,
        scratch,
        mirror,
        suite=machine.suite,
        debian=machine.processor.debian,
        log=log,
        environment=environment,
    )
    if done:
        raise _no_kernel(machine, mirror, log) or _refused(log, mirror)
    shutil.rmtree(scratch)
    return (into / "release").read_text().strip(), _versions(into / "packages")


def extract_module_source(machine: Machine, release: str, into: Path, mirror: Mirror, *, log: Path) -> dict[str, str]:
    """Headers, build programs and source of the kernel ``release``, unpacked into ``into``; their versions by name.

    The programs are of this computer's processor, the rest is of the machine's.
    """
    scratch = into.with_name(f"{into.name}.apt")
    arguments = ["--variant=custom", f"--customize-hook={HOOKS / 'fetch-module-source'}"]
    target, host = machine.processor.debian, of_host().debian
    done = _mmdebstrap(
        arguments,
        scratch,
        mirror,
        suite=machine.suite,
        debian=",".join(dict.fromkeys((host, target))),
        log=log,
        environment={
            "LAB_RELEASE": release, "LAB_TARGET": target, "LAB_HOST": host, "LAB_DESTINATION": str(into),
        },
    )  # fmt: skip
    if done:
        raise _no_headers(release, mirror, log) or _refused(log, mirror)
    shutil.rmtree(scratch)
    return _versions(into / "packages")


def _no_headers(release: str, mirror: Mirror, log: Path) -> EnvironmentRefused | None:
    """The error of a mirror that has no headers of the very kernel that the phone boots."""
    said = re.search(r"^fetch-module-source: none; this suite has:(.*)$", log.read_text(errors="replace"), re.MULTILINE)
    if said is None:
        return None
    return EnvironmentRefused(
        f"{mirror.url} (chosen by {mirror.chosen_by}) has no headers of kernel {release}; there it has "
        f"{', '.join(said[1].split()) or 'none at all'}",
        hint="A module fits one build of a kernel. `./lab phone build --refresh` fetches the newest kernel, or name a "
        "mirror that still has this one (a date of snapshot.debian.org): --mirror URL.",
    )


def _no_kernel(machine: Machine, mirror: Mirror, log: Path) -> EnvironmentRefused | None:
    """The error of a mirror that has no such kernel, with those that it can be expected to have."""
    said = re.search(r"^fetch-kernel: none; this suite has:(.*)$", log.read_text(errors="replace"), re.MULTILINE)
    if said is None:
        return None
    there = said[1].split()
    like = [
        m for m in MACHINES if (m.processor, m.page_size) == (machine.processor, machine.page_size) and m != machine
    ]
    others = [m.kernel for m in like if m.suite != machine.suite or m.kernel in there]
    return EnvironmentRefused(
        f"{mirror.url} (chosen by {mirror.chosen_by}) has no kernel {machine.kernel} for {machine.flavour} in "
        f"{machine.suite}; there it has {', '.join(there) or 'none at all'}",
        hint=f"Backports move on. --kernel {' or '.join(others)} can be had, or name a mirror that still has this one "
        "(a date of snapshot.debian.org): --mirror URL.",
    )


def _versions(listing: Path) -> dict[str, str]:
    return dict(line.split(" ", 1) for line in listing.read_text().splitlines())


def _mmdebstrap(
    arguments: Sequence[str],
    into: Path,
    mirror: Mirror,
    *,
    suite: str,
    debian: str,
    log: Path,
    environment: Mapping[str, str],
) -> int:
    """Run mmdebstrap, all output to ``log``; its exit status. EnvironmentRefused if it does not end."""
    argv = ["mmdebstrap", "--mode=chrootless", "--format=directory", f"--architectures={debian}"]
    argv.append(f"--keyring={_KEYRING}")
    if "snapshot.debian.org" in mirror.url:
        argv.append("--aptopt=Acquire::Check-Valid-Until false")
    argv += [*arguments, suite, str(into), f"deb {mirror.url} {suite} main"]
    with log.open("w") as output:
        try:
            done = subprocess.run(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **environment, "LC_ALL": "C.UTF-8"},
                timeout=_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise EnvironmentRefused(
                f"fetching Debian packages from {mirror.url}: not done within {_TIMEOUT_S} s (log: {log})",
                hint=f"The network may be too slow for now. Use {_ANOTHER_MIRROR}.",
            ) from error
    return done.returncode


def _refused(log: Path, mirror: Mirror) -> EnvironmentRefused:
    said = log.read_text(errors="replace")
    where = f"fetching Debian packages from {mirror.url} (chosen by {mirror.chosen_by})"
    for pattern, meaning, hint in _COMPLAINTS:
        if found := re.search(f".*(?:{pattern}).*", said):
            return EnvironmentRefused(f"{where}: {meaning}: {found[0].strip()} (log: {log})", hint=hint)
    last = "; ".join(line for line in said.splitlines()[-4:] if line.strip())
    return EnvironmentRefused(f"{where}: mmdebstrap failed: {last}", hint=f"All that it said is in {log}.")
