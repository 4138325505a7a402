"""KVM is used where a guest boots with it, and that is tried once per boot of the host and per QEMU."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from base.errors import EnvironmentRefused
from devices.virtual.accelerator import AcceleratorTrial, choose, kvm_verdict
from devices.virtual.image import Image

IMAGE = Image("0123abcd", "7.3", "7.3.4", Path("/c/vmlinuz"), Path("/c/initramfs"), Path("/c/qemu"), "10.0.13")


class Host:
    """A host with a /dev/kvm; ``works`` is what a trial boot finds out."""

    def __init__(self, folder: Path, *, works: bool) -> None:
        self.device, self.kept, self.works, self.trials = folder / "kvm", folder / "kvm.json", works, 0
        self.device.touch()

    def trial(self, _: Image) -> AcceleratorTrial:
        self.trials += 1
        return AcceleratorTrial(self.works, "a guest booted" if self.works else "QEMU hangs")

    def verdict(self, image: Image = IMAGE) -> AcceleratorTrial:
        return kvm_verdict(image, progress=lambda _: None, device=self.device, trial=self.trial, kept=self.kept)


@pytest.mark.parametrize("works", [True, False])
def test_the_verdict_is_a_trial_boots_and_is_remembered(tmp_path: Path, works: bool) -> None:
    host = Host(tmp_path, works=works)
    assert host.verdict() == host.verdict()
    assert (host.verdict().works, host.trials) == (works, 1)


def test_another_qemu_is_tried_anew(tmp_path: Path) -> None:
    host = Host(tmp_path, works=False)
    host.verdict()
    host.works = True
    assert host.verdict(replace(IMAGE, qemu_version="10.0.14")).works


def test_after_a_reboot_of_the_host_it_is_tried_anew(tmp_path: Path) -> None:
    host = Host(tmp_path, works=False)
    host.verdict()
    kept = json.loads(host.kept.read_text())
    kept["asked"]["boot"] = "another boot"
    host.kept.write_text(json.dumps(kept))
    host.works = True
    assert host.verdict().works


def test_a_verdict_that_cannot_be_read_is_no_verdict(tmp_path: Path) -> None:
    host = Host(tmp_path, works=True)
    host.kept.write_text("{")
    assert host.verdict().works


def test_without_the_device_nothing_is_tried(tmp_path: Path) -> None:
    host = Host(tmp_path, works=True)
    host.device.unlink()
    assert host.verdict() == AcceleratorTrial(False, f"there is no {host.device}")
    assert host.trials == 0


def test_asking_for_what_does_not_work_is_an_error(tmp_path: Path) -> None:
    said: list[str] = []
    none = tmp_path / "none"
    assert choose("auto", IMAGE, progress=said.append, device=none) == "tcg"
    assert said == [f"emulating the CPU (TCG), because KVM does not work here: there is no {none}"]
    assert choose("tcg", IMAGE, progress=said.append, device=none) == "tcg"
    with pytest.raises(EnvironmentRefused, match="KVM does not work here"):
        choose("kvm", IMAGE, progress=said.append, device=none)
