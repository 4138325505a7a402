"""The table of machines: every row has a kernel to fetch, and the documentation lists the same ones."""

from __future__ import annotations

import re

import pytest

from base.errors import ProfileError
from devices.profiles.sections import VirtualConnection
from devices.virtual.machines import ARCHS, DEFAULT, KERNELS, MACHINES, PAGE_SIZES, find
from tests.conftest import REPO


def test_the_default_is_a_phone_of_today() -> None:
    wanted = VirtualConnection()
    assert find(wanted.kernel, "auto", PAGE_SIZES[wanted.page_size]) == DEFAULT
    assert DEFAULT.name == "arm64-4k-7.3"


def test_names_tell_machines_apart() -> None:
    assert len({machine.name for machine in MACHINES}) == len(MACHINES)
    assert {machine.flavour for machine in MACHINES} == {"arm64", "arm64-16k", "amd64"}


def test_the_documentation_lists_the_same_machines() -> None:
    text = (REPO / "docs/virtual-phone.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (arm64|x86_64) \| (4k|16k) \| ([\d.]+) \| (.*) \| (.*) \|$", text, re.MULTILINE)
    assert rows == [
        (machine.processor.name, f"{machine.page_size >> 10}k", machine.kernel, machine.like, machine.cannot_show)
        for machine in MACHINES
    ]


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("page_size", PAGE_SIZES)
@pytest.mark.parametrize("arch", ARCHS)
def test_a_profile_takes_what_there_is_and_refuses_the_rest(arch: str, page_size: str, kernel: str) -> None:
    there = [m for m in MACHINES if (m.kernel, m.page_size) == (kernel, PAGE_SIZES[page_size])]
    if any(arch in (machine.processor.name, "auto") for machine in there):
        assert VirtualConnection(kernel=kernel, arch=arch, page_size=page_size).kernel == kernel
    else:
        with pytest.raises(ValueError, match=r"no virtual phone is .* There are "):
            VirtualConnection(kernel=kernel, arch=arch, page_size=page_size)


def test_what_there_is_not_is_refused_with_the_names_of_what_there_is() -> None:
    with pytest.raises(ProfileError) as refused:
        find("5.10", "arm64", 16384)
    assert refused.value.hint == "There are arm64 4k: 7.3, 6.12, 6.18, 6.1, 5.10; arm64 16k: 7.3, 6.12, 6.18."
