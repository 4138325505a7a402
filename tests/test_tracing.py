"""Recording block events on a phone in an instance of our own, which leaves nothing and disturbs nobody."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from base.errors import DeviceError
from devices.adb import AdbTransport
from devices.device import Device, open_device
from devices.probe.session import ProbeSession
from devices.storage import disk_below
from devices.tracing import INSTANCE, TRACEFS, TracingRefused, block_trace
from devices.transport import Exec, Write
from records.block_events import parse_events
from workloads.blockevents import requests

pytestmark = pytest.mark.phone
FILE = "/data/local/tmp/traced"


@pytest.fixture
def device(transport: AdbTransport) -> Iterator[Device]:
    with open_device(transport) as device:
        yield device


@pytest.fixture
def probe(device: Device) -> Iterator[ProbeSession]:
    device.probe.install(device.identity.arch)
    with device.probe.session(alarm_s=120) as session:
        yield session


def instance_is_there(device: Device) -> bool:
    return device.execute(Exec(("test", "-e", INSTANCE), accept=(0, 1)))[0].status == 0


def write_and_read(device: Device) -> None:
    device.run("sh", "-c", f"head -c 65536 /dev/urandom > {FILE}; sync {FILE}; echo 3 > /proc/sys/vm/drop_caches; "
                           f"cat {FILE} > /dev/null; rm {FILE}")  # fmt: skip


@pytest.mark.parametrize("only_reads", [False, True])
def test_requests_of_a_disk_are_recorded_and_nothing_is_left(
    device: Device, probe: ProbeSession, tmp_path: Path, only_reads: bool
) -> None:
    disk = disk_below(device, FILE)
    assert disk is not None
    assert (disk.name, disk.exact) == ("sda", True)
    with block_trace(device, [disk.number], events=1000, only_reads=only_reads) as trace:
        assert trace.other_tracer == ""
        last_ns = 0
        for _ in range(2):
            with trace.record(probe):
                write_and_read(device)
            events = parse_events(trace.fetch(tmp_path / "trace"))
            # What was recorded before is gone.
            assert events[0].ns > last_ns
            last_ns = events[-1].ns
        assert instance_is_there(device)
    assert not instance_is_there(device)
    assert device.journal.entries == []
    assert requests(events, disk.number, reads=True)
    assert bool(requests(events, disk.number, reads=False)) is not only_reads


def test_an_instance_that_is_there_is_left_alone(device: Device) -> None:
    device.run("mkdir", INSTANCE)
    try:
        with pytest.raises(TracingRefused, match="is there already"), block_trace(device, ["8:0"], events=10):
            pass
        assert instance_is_there(device)
        assert device.journal.entries == []
    finally:
        device.run("rmdir", INSTANCE)


def test_another_tracer_is_named_and_goes_on(device: Device) -> None:
    device.write(f"{TRACEFS}/set_event", "sched:sched_switch")
    try:
        with block_trace(device, ["8:0"], events=10) as trace:
            assert trace.other_tracer == "sched:sched_switch"
        assert device.read(f"{TRACEFS}/set_event").strip() == "sched:sched_switch"
    finally:
        device.execute(Write(f"{TRACEFS}/events/enable", "0"))


def test_a_buffer_that_was_too_small_is_an_error(device: Device, probe: ProbeSession, tmp_path: Path) -> None:
    with block_trace(device, ["8:0"], events=10) as trace:
        device.write(f"{INSTANCE}/buffer_size_kb", "4")
        with trace.record(probe):
            for _ in range(6):
                write_and_read(device)
            device.run(
                "sh", "-c", f"i=0; while [ $i -lt 200 ]; do echo $i > {FILE}; sync {FILE}; i=$((i+1)); done; rm {FILE}"
            )
        with pytest.raises(DeviceError, match="too small"):
            trace.fetch(tmp_path / "trace")
