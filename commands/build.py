"""``./lab build zram``: the module for a virtual phone's kernel. Its path goes to stdout, all talk to stderr."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from base.arguments import CommandParser
from devices.virtual.accelerator import choose_machine
from devices.virtual.machines import ARCHS, DEFAULT, KERNELS, PAGE_SIZES
from devices.virtual.module_build import STOCK, Patch, build_zram


def main(argv: list[str]) -> int:
    """Build zram's module, stock or with a patch; print where it is."""
    arguments = _parser().parse_args(argv)
    patch = Patch.read(Path(arguments.patch)) if arguments.patch else None
    machine = choose_machine(
        arguments.kernel, arguments.arch, PAGE_SIZES[arguments.page_size], accelerator="auto",
        mirror=arguments.mirror, progress=_say,
    )  # fmt: skip
    built = build_zram(machine, patch, progress=_say, mirror=arguments.mirror)
    what = f"patch {built.patch_sha256[:12]}" if built.patch_sha256 else STOCK
    _say(f"zram for {built.release}, {what}, build id {built.module.build_id}, built in {built.build_s:.1f} s")
    print(built.module.path)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(prog="lab build", description="Builds a kernel module for the virtual phone.")
    parser.add_argument("module", choices=("zram",), help="which module")
    parser.add_argument("--patch", metavar="FILE", help="applied before; as git diff writes it, of drivers/block/zram")
    parser.add_argument("--kernel", choices=KERNELS, default=DEFAULT.kernel, help="default: %(default)s")
    parser.add_argument("--arch", choices=ARCHS, default="auto", help="default: the host's where KVM works, else arm64")
    parser.add_argument("--page-size", choices=PAGE_SIZES, default="4k", help="default: %(default)s")
    parser.add_argument("--mirror", metavar="URL", help="Debian mirror (default: $ZRAM_LAB_MIRROR, else the host's)")
    return parser


def _say(message: str) -> None:
    print(f"build: {message}", file=sys.stderr, flush=True)
