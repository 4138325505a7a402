"""KVM is used where a guest boots with it, and that is tried once per boot of the host and per QEMU."""

from __future__ import annotations

import json
import platform
from pathlib import Path

import pytest

from base.errors import EnvironmentRefused, ProfileError
from devices.virtual.accelerator import AcceleratorTrial, Kvm, choose, choose_machine
from devices.virtual.image import Image, Qemu
from devices.virtual.machines import DEFAULT, PROCESSORS, find

OWN = next(processor for processor in PROCESSORS if processor.uname == platform.machine())
OTHER = next(processor for processor in PROCESSORS if processor is not OWN)


def image(arch: str) -> Image:
    machine = find("7.3", arch, 4096)
    qemu = Qemu(machine.processor, Path("/c/qemu"), "10.0.13")
    return Image("0123abcd", machine, "7.3.4", Path("/c/vmlinuz"), Path("/c/initramfs"), qemu)


class Host:
    """A host with a /dev/kvm; ``works`` is what a trial boot finds out."""

    def __init__(self, folder: Path, *, works: bool) -> None:
        self.kvm, self.works, self.trials = Kvm(folder / "kvm", folder), works, 0
        self.kvm.device.touch()

    def trial(self) -> AcceleratorTrial:
        self.trials += 1
        return AcceleratorTrial(self.works, "a guest booted" if self.works else "QEMU hangs")

    def verdict(self, guest: str = "kernel", qemu_version: str = "10.0.13") -> AcceleratorTrial:
        return self.kvm.verdict(guest, qemu_version, self.trial, progress=lambda _: None)


@pytest.mark.parametrize("works", [True, False])
def test_the_verdict_is_a_trial_boots_and_is_remembered(tmp_path: Path, works: bool) -> None:
    host = Host(tmp_path, works=works)
    assert host.verdict() == host.verdict()
    assert (host.verdict().works, host.trials) == (works, 1)


def test_another_qemu_and_another_guest_are_tried_anew(tmp_path: Path) -> None:
    host = Host(tmp_path, works=False)
    host.verdict()
    host.works = True
    assert host.verdict(qemu_version="10.0.14").works
    assert host.verdict("firmware").works


def test_after_a_reboot_of_the_host_it_is_tried_anew(tmp_path: Path) -> None:
    host = Host(tmp_path, works=False)
    host.verdict()
    (file,) = tmp_path.glob("*.json")
    kept = json.loads(file.read_text())
    kept["asked"]["boot"] = "another boot"
    file.write_text(json.dumps(kept))
    host.works = True
    assert host.verdict().works


def test_a_verdict_that_cannot_be_read_is_no_verdict(tmp_path: Path) -> None:
    host = Host(tmp_path, works=True)
    (tmp_path / "kvm-kernel.json").write_text("{")
    assert host.verdict().works


def test_without_the_device_nothing_is_tried(tmp_path: Path) -> None:
    host = Host(tmp_path, works=True)
    host.kvm.device.unlink()
    assert host.verdict() == AcceleratorTrial(False, f"there is no {host.kvm.device}")
    assert host.trials == 0


def test_asking_for_what_does_not_work_is_an_error(tmp_path: Path) -> None:
    said: list[str] = []
    none = Kvm(tmp_path / "none", tmp_path)
    own = image(OWN.name)
    assert choose("auto", own, progress=said.append, kvm=none) == "tcg"
    assert said == [f"emulating the CPU (TCG), because KVM does not work here: there is no {none.device}"]
    assert choose("tcg", own, progress=said.append, kvm=none) == "tcg"
    with pytest.raises(EnvironmentRefused, match="KVM does not work here"):
        choose("kvm", own, progress=said.append, kvm=none)


def test_another_processor_than_the_hosts_is_emulated_without_a_trial(tmp_path: Path) -> None:
    host = Host(tmp_path, works=True)
    other = image(OTHER.name)
    assert choose("auto", other, progress=lambda _: None, kvm=host.kvm) == "tcg"
    with pytest.raises(EnvironmentRefused, match=f"not {OTHER.name}"):
        choose("kvm", other, progress=lambda _: None, kvm=host.kvm)


def chosen(folder: Path, *, arch: str = "auto", accelerator: str = "auto", page_size: int = 4096) -> tuple[str, str]:
    said: list[str] = []
    machine = choose_machine(
        "7.3",
        arch,
        page_size,
        accelerator=accelerator,
        mirror=None,
        progress=said.append,
        kvm=Kvm(folder / "none", folder),
    )
    return machine.name, "".join(said)


def test_without_kvm_the_phone_is_an_arm64_one_and_that_is_said_in_a_line(tmp_path: Path) -> None:
    name, said = chosen(tmp_path)
    assert name == DEFAULT.name == "arm64-4k-7.3"
    if not DEFAULT.processor.is_the_hosts:
        assert said == f"an emulated arm64 phone (--arch auto), because there is no {tmp_path / 'none'}"


def test_what_was_asked_for_is_not_argued_with(tmp_path: Path) -> None:
    assert chosen(tmp_path, arch="x86_64") == ("x86_64-4k-7.3", "")
    assert chosen(tmp_path, accelerator="tcg") == ("arm64-4k-7.3", "")


def test_a_machine_that_there_is_not_names_those_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match=r"x86_64 with pages of 16 KiB and kernel 7\.3") as refused:
        chosen(tmp_path, arch="x86_64", page_size=16384)
    assert "x86_64 4k: 7.3, 6.12" in refused.value.hint
