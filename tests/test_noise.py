"""Whether a turn was disturbed: told by the host's counters of a virtual phone, and by a phone's own."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from base.units import NS_PER_MS, NS_PER_S
from devices.probe.control import Clock, Control
from devices.virtual.host_time import HostTime, HostWatch
from records.model import Turn
from workloads.noise import Disturbance, Look, NoiseWatch, noise_facts

CPU_NS = 2 * NS_PER_MS


def control(at_s: float = 0.0, *, cpu_ns: int = CPU_NS, busy_s: float = 0.0, own_s: float = 0.0, workers_s: float = 0.0,
            clock: tuple[int, int] = (1800, 1800)) -> Control:  # fmt: skip
    """As the probe answers at that time."""
    ns = [round(seconds * NS_PER_S) for seconds in (at_s, busy_s, own_s, workers_s)]
    return Control(cpu_ns, ns[0], ns[1], 0, ns[2], (Clock(0, *clock),), 4 * NS_PER_MS, ns[3], 0)


def host(at_s: float, *waited_s: float, stolen_s: float = 0.0) -> HostTime:
    waited = {thread: round(seconds * NS_PER_S) for thread, seconds in enumerate(waited_s)}
    return HostTime(round(at_s * NS_PER_S), dict.fromkeys(waited, 0), waited, round(stolen_s * NS_PER_S))


def virtual_turn(watch: NoiseWatch, after: HostTime, *, cpu_ns: int = CPU_NS) -> Turn:
    return watch.turn(
        3, Look(control(7.0, cpu_ns=cpu_ns), host(0.0, *(0.0 for _ in after.waited_ns)), 0), Look(None, after, 0)
    )


def real_turn(before: Control, after: Control, *, cpus: int = 4) -> Turn:
    return NoiseWatch(cpus).turn(0, Look(before, None, 0), Look(after, None, 0))


def test_a_quiet_turn_has_its_controls_and_no_reason() -> None:
    turn = virtual_turn(NoiseWatch(host=lambda: None), host(1.0, 0.01, 0.02))
    assert turn == Turn(3, 7.0, [], 0.02, CPU_NS, 4 * NS_PER_MS)


def test_the_worst_virtual_cpu_counts_and_stolen_time_is_added() -> None:
    watch = NoiseWatch(host=lambda: None)
    assert virtual_turn(watch, host(2.0, 0.0, 0.5)).wait == 0.25
    turn = virtual_turn(watch, host(2.0, 0.02, 0.06, stolen_s=0.4))
    assert (turn.wait, turn.disturbed) == (0.23, [str(Disturbance.waited)])


def test_a_slow_control_is_a_reason_only_where_the_phone_waited_too() -> None:
    """The control alone may be slow for a cause within the phone, which the turn shares with all others."""
    watch = NoiseWatch(host=lambda: None)
    for _ in range(5):
        assert not virtual_turn(watch, host(1.0, 0.15)).disturbed
    assert virtual_turn(watch, host(1.0, 0.15), cpu_ns=4 * CPU_NS).disturbed == [str(Disturbance.slow_cpu)]
    assert not virtual_turn(watch, host(1.0, 0.01), cpu_ns=4 * CPU_NS).disturbed


@pytest.mark.parametrize(("others_s", "disturbed"), [(0.2, []), (1.2, [str(Disturbance.others)])])
def test_on_a_phone_the_cpu_time_of_others_counts(others_s: float, disturbed: list[str]) -> None:
    """Neither the probe's own nor that of the kernel's workers."""
    turn = real_turn(control(), control(1.0, busy_s=others_s + 1.5, own_s=1.0, workers_s=0.5))
    assert turn.disturbed == disturbed
    assert turn.wait == pytest.approx(others_s / 4)


def test_a_clock_that_is_held_down_is_a_reason() -> None:
    turn = real_turn(control(), control(1.0, clock=(1200, 1800)))
    assert turn.disturbed == [str(Disturbance.clock_low)]
    assert not real_turn(control(), control(1.0, clock=(0, 1800))).disturbed


def test_a_phone_of_which_nothing_is_known_is_not_called_quiet() -> None:
    turn = NoiseWatch(host=lambda: None).turn(0, Look(None, None, 5 * NS_PER_S), Look(None, None, 0))
    assert turn == Turn(0, 5.0, [], None, None, None)


def test_the_end_of_a_run_tells_of_all_turns() -> None:
    turns = [Turn(0, 0.0, [], 0.01), Turn(0, 1.0, ["x"], 0.5), Turn(1, 2.0, [], 0.03), Turn(1, 3.0)]
    assert noise_facts(turns) == {"turns": 4, "disturbed": 1, "wait_median": 0.03, "wait_worst": 0.5}
    assert noise_facts([]) == {"turns": 0, "disturbed": 0, "wait_median": None, "wait_worst": None}


def test_threads_of_this_very_host_are_read() -> None:
    """A thread that computes runs; what it waits is never more than the time there was."""
    found: list[int] = []
    stop = threading.Event()

    def compute() -> None:
        found.append(threading.get_native_id())
        while not stop.is_set():
            pass

    worker = threading.Thread(target=compute, daemon=True)
    worker.start()
    try:
        while not found:
            time.sleep(0.001)  # sleep: until the thread has begun
        watch = HostWatch(os.getpid(), found)
        before = watch.now()
        time.sleep(0.2)  # sleep: what is counted takes time
        after = watch.now()
    finally:
        stop.set()
        worker.join()
    assert before is not None
    assert after is not None
    assert after.ran_ns[found[0]] > before.ran_ns[found[0]]
    wait = after.wait_since(before)
    assert wait is not None
    assert 0 <= wait <= 1


def test_a_qemu_that_is_gone_tells_nothing(tmp_path: Path) -> None:
    assert HostWatch(1, [1], proc=tmp_path).now() is None
