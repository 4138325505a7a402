"""``./lab phone build|start|stop|list|shell``. The result goes to stdout, all talk to stderr."""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys

from adbutils import adb_path
from tabulate import tabulate

from base.arguments import CommandParser
from base.errors import EnvironmentRefused, ProfileError
from base.units import format_size, parse_size
from devices.connect import server_version
from devices.virtual import adb_link
from devices.virtual.accelerator import CHOICES, choose_machine
from devices.virtual.image import ensure_image
from devices.virtual.machines import ARCHS, DEFAULT, KERNELS, MACHINES, PAGE_SIZES, Machine
from devices.virtual.phone import RunningPhone, VirtualPhoneConfig, find, running, start


def main(argv: list[str]) -> int:
    """Build, start, stop, list the virtual phones, or open a shell on one."""
    arguments = _parser().parse_args(argv)
    # SIGTERM unwinds like Ctrl-C, so that a phone that is still booting does not stay behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    status: int = arguments.command(arguments)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(prog="lab phone", description="The virtual phone: build, start, stop, list, shell.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    build = commands.add_parser("build", help="build or refresh its image")
    _add_machine(build)
    build.add_argument("--all", action="store_true", help="every machine that there is")
    build.add_argument("--refresh", action="store_true", help="fetch the newest packages again")
    _add_mirror(build)
    build.set_defaults(command=_build)

    begin = commands.add_parser("start", help="boot one and leave it running; prints its adb serial")
    begin.add_argument("--name", default="default", help="which phone (each has its own disks)")
    _add_machine(begin)
    begin.add_argument("--memory", default="2GiB", help="its RAM (default: %(default)s)")
    begin.add_argument("--cpus", type=int, default=2)
    begin.add_argument("--ufs", default="4GiB", help="size of its UFS disk (default: %(default)s)")
    begin.add_argument("--accelerator", choices=CHOICES, default="auto", help="default: KVM where it works, else TCG")
    begin.add_argument("--adbd-root", action="store_true", help="adbd runs as root, as on an eng build")
    begin.add_argument("--fresh", action="store_true", help="with new disks; what was on /data is lost")
    _add_mirror(begin)
    begin.set_defaults(command=_start)

    stop = commands.add_parser("stop", help="end one")
    stop.add_argument("--name", default="default")
    stop.add_argument("--all", action="store_true", help="all that run")
    stop.set_defaults(command=_stop)

    listing = commands.add_parser("list", help="those that run")
    listing.add_argument("--json", action="store_true")
    listing.set_defaults(command=_list)

    shell = commands.add_parser("shell", help="open a shell on one")
    shell.add_argument("--name", default="default")
    shell.add_argument("words", nargs=argparse.REMAINDER, metavar="COMMAND", help="run this instead")
    shell.set_defaults(command=_shell)
    return parser


def _add_machine(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--kernel", choices=KERNELS, default=DEFAULT.kernel, help="default: %(default)s")
    parser.add_argument("--arch", choices=ARCHS, default="auto", help="default: the host's where KVM works, else arm64")
    parser.add_argument("--page-size", choices=PAGE_SIZES, default="4k", help="default: %(default)s")


def _add_mirror(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--mirror", metavar="URL", help="Debian mirror (default: $ZRAM_LAB_MIRROR, else the host's)")


def _say(message: str) -> None:
    print(f"phone: {message}", file=sys.stderr, flush=True)


def _build(arguments: argparse.Namespace) -> int:
    for machine in MACHINES if arguments.all else [_machine(arguments)]:
        image = ensure_image(
            machine, progress=_say, mirror=arguments.mirror, refresh=arguments.refresh, thorough=not arguments.refresh
        )
        _say(f"{machine}: {image.kernel_release}, QEMU {image.qemu.version}, image {image.key}")
    return 0


def _machine(arguments: argparse.Namespace) -> Machine:
    return choose_machine(
        arguments.kernel,
        arguments.arch,
        PAGE_SIZES[arguments.page_size],
        accelerator="auto",
        mirror=arguments.mirror,
        progress=_say,
    )


def _start(arguments: argparse.Namespace) -> int:
    config = VirtualPhoneConfig(
        name=arguments.name,
        kernel=arguments.kernel,
        arch=arguments.arch,
        page_size=PAGE_SIZES[arguments.page_size],
        memory_bytes=_size("--memory", arguments.memory, least=512 << 20),
        cpus=_cpus(arguments.cpus),
        ufs_bytes=_size("--ufs", arguments.ufs, least=512 << 20),
        adbd_root=arguments.adbd_root,
        accelerator=arguments.accelerator,
        mirror=arguments.mirror,
    )
    phone = start(config, fresh=arguments.fresh, detached=True, progress=_say)
    kind = f"{phone.kernel_release}, pages of {phone.page_size >> 10} KiB"
    _say(f"{phone.name}: {kind}, up after {phone.boot_s:.1f} s; ./lab phone stop ends it")
    print(phone.serial)
    return 0


def _size(option: str, text: str, *, least: int) -> int:
    try:
        size = parse_size(text)
    except ValueError as error:
        raise ProfileError(f"{option}: {error}") from error
    if size < least or size % (1 << 20):
        raise ProfileError(f"{option}: {text}: expected at least {format_size(least)}, in whole MiB")
    return size


def _cpus(count: int) -> int:
    if not 1 <= count <= 64:
        raise ProfileError(f"--cpus: {count}: expected 1 to 64")
    return count


def _stop(arguments: argparse.Namespace) -> int:
    phones = running()
    if not arguments.all:
        phones = [phone for phone in phones if phone.name == arguments.name]
    if not phones:
        _say("none runs" if arguments.all else f"{arguments.name} does not run")
    for phone in phones:
        phone.stop()
        _say(f"{phone.name} is off")
    return 0


def _list(arguments: argparse.Namespace) -> int:
    phones = running()
    if arguments.json:
        print(json.dumps([_row(phone) for phone in phones], indent=1))
    elif phones:
        rows = [{**_row(phone), "memory": format_size(phone.memory_bytes)} for phone in phones]
        for row in rows:
            del row["memory_bytes"]
        print(tabulate(rows, headers="keys"))
    else:
        print("no phones")
    return 0


def _row(phone: RunningPhone) -> dict[str, object]:
    return {
        "name": phone.name,
        "serial": phone.serial,
        "arch": phone.arch,
        "page_size": phone.page_size,
        "kernel": phone.kernel_release,
        "accelerator": phone.accelerator,
        "memory_bytes": phone.memory_bytes,
        "cpus": phone.cpus,
        "pid": phone.pid,
        "detached": phone.detached,
    }


def _shell(arguments: argparse.Namespace) -> int:
    phone = find(arguments.name)
    if phone is None:
        raise EnvironmentRefused(
            f"virtual phone {arguments.name} does not run", hint=f"./lab phone start --name {arguments.name}"
        )
    adb_link.require_server()
    adb = adb_path()
    _require_same_version(adb)
    os.execv(adb, [adb, "-s", phone.serial, "shell", *arguments.words])


def _require_same_version(adb: str) -> None:
    """The adb program ends a server of another version, under everybody else who uses it."""
    said = subprocess.run([adb, "version"], capture_output=True, text=True, timeout=10, check=False).stdout
    found = re.search(r"version 1\.0\.(\d+)", said)
    client, server = (int(found[1]) if found else None), server_version()
    if client != server:
        raise EnvironmentRefused(
            f"{adb} has version {client}, the adb server has {server}: opening a shell would end that server",
            hint="Use the adb program that started the server: adb -s SERIAL shell.",
        )
