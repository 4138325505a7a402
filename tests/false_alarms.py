"""How often ``./lab compare`` is wrong: the same phone against itself, or against itself slowed down. Run by hand:

    .venv/bin/python -m tests.false_alarms                  equal pairs: every "better" or "worse" is a false alarm
    .venv/bin/python -m tests.false_alarms --slow 15%       the candidate's storage is slower: "worse" must be called

One virtual phone is booted; base and candidate take turns on it, each a run of its own. On a busy host the figures say
more about the host than about the comparison. Wanted, with 20 pairs: a false alarm at no more than 1 figure in 100, and
a difference of 15 % called in at least 19 pairs.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from string import Template

from tabulate import tabulate

from base.units import MIB
from devices.virtual.phone import RunningPhone, VirtualPhoneConfig, start
from records.intervals import RELEVANT
from records.writing import replace_file
from reports.comparison.compare import compare
from reports.comparison.verdicts import Verdict

ROOT = Path(__file__).resolve().parent.parent
SUITE = ROOT / "suites" / "test_writeback_throughput.py"
DATA_MIB = 4
# One writeback of the base takes so long where the storage is slowed down: far longer than without the limit, so that
# the limit alone decides.
LIMITED_S = 0.6
# QEMU lets so much of a limit's second pass at once.
BURST_S = 0.1
THROUGHPUT = "writeback.throughput"
PROFILE = Template("""\
name: false-alarms
extends: generic
connection: {adb: {serial: "$serial"}}
zram: {disksize: 512MiB}
backing: {size: 400MiB}
sweep:
  batch_sizes: [8, 32]
  data: [${data_mib}MiB]
  pages: [incompressible]
  order: [sparse]
  repeats: $repeats
  warmups: 1
limits: {temperature: 60, battery: 0}
""")


@dataclass(frozen=True, slots=True)
class Pair:
    """Verdicts of one comparison: of all figures, and of throughput alone. ``ratios`` are of throughput."""

    number: int
    verdicts: dict[str, int]
    throughput: list[str]
    ratios: list[float | None]

    @property
    def alarms(self) -> int:
        return self.verdicts.get(Verdict.better, 0) + self.verdicts.get(Verdict.worse, 0)

    @property
    def called(self) -> bool:
        return Verdict.worse.value in self.throughput


@dataclass(frozen=True, slots=True)
class Lab:
    """One phone, and how it is measured. ``slower``: by which share the candidate writes more slowly, 0 for equal."""

    phone: RunningPhone
    folder: Path
    profile: Path
    slower: float
    relevant: float

    def pair(self, number: int) -> Pair:
        base, cand = self.run(number, "base"), self.run(number, "cand", self.slower)
        comparison = compare(str(base), str(cand), self.relevant)
        rates = [each for each in comparison.judged if each.figure.metric == THROUGHPUT]
        counts = {verdict.value: len(comparison.with_verdict(verdict)) for verdict in Verdict if verdict}
        return Pair(number, counts, [each.verdict.value for each in rates], [each.ratio for each in rates])

    def run(self, number: int, side: str, slower: float = 0.0) -> Path:
        """The folder of one run; numbers are seeds too, so that both sides of a pair meet the same slots."""
        results = self.folder / f"pair-{number:02d}" / side
        if self.slower:
            seconds = LIMITED_S / (1 - slower)
            self.phone.set_storage_limit(bytes_per_s=round(DATA_MIB * MIB / (seconds + BURST_S)))
        argv: list[str | Path] = [
            ROOT / "lab", "run", SUITE, "--device", self.profile, "--plan", "standard", "--seed", str(number),
            "--results", results,
        ]  # fmt: skip
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"pair {number}, {side}: exit status {done.returncode}\n{done.stdout}{done.stderr}")
        (run,) = results.iterdir()
        return run


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status 0 if the comparison is as reliable as wanted, 1 if not."""
    parser = argparse.ArgumentParser(prog="python -m tests.false_alarms", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=9, help="of each point, default: %(default)s")
    parser.add_argument("--slow", metavar="PERCENT", default="0%", help="slow the candidate's storage down by so much")
    parser.add_argument("--relevant", type=float, default=RELEVANT, help="least relevant difference, default: 0.05")
    parser.add_argument(
        "--results", type=Path, default=ROOT / "results" / f"false-alarms-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    )
    options = parser.parse_args(argv)
    slower = float(options.slow.removesuffix("%")) / 100
    options.results.mkdir(parents=True)
    config = VirtualPhoneConfig(name="false-alarms", memory_bytes=1024 * MIB, ufs_bytes=2048 * MIB)
    phone = start(config, fresh=True, progress=lambda text: print(text, file=sys.stderr))
    try:
        profile = options.results / "false-alarms.yaml"
        profile.write_text(PROFILE.substitute(serial=phone.serial, data_mib=DATA_MIB, repeats=options.repeats))
        lab = Lab(phone, options.results, profile, slower, options.relevant)
        # On disks just made the first run is not like the others.
        lab.run(0, "warm-up")
        pairs = []
        for number in range(1, options.pairs + 1):
            pairs.append(lab.pair(number))
            print(_words(pairs[-1]), file=sys.stderr, flush=True)
            _keep(options.results, slower, pairs)
    finally:
        phone.stop()
    print(_table(pairs, slower))
    return 0 if _reliable(pairs, slower) else 1


def _words(pair: Pair) -> str:
    ratios = ", ".join("-" if ratio is None else f"{ratio:.3f}" for ratio in pair.ratios)
    return f"pair {pair.number}: throughput {', '.join(pair.throughput)} (ratio {ratios})"


def _keep(folder: Path, slower: float, pairs: Sequence[Pair]) -> None:
    content = {"slower": slower, "reliable": _reliable(pairs, slower), "pairs": [asdict(pair) for pair in pairs]}
    replace_file(folder / "false-alarms.json", json.dumps(content, indent=1) + "\n")


def _reliable(pairs: Sequence[Pair], slower: float) -> bool:
    if slower:
        return sum(pair.called for pair in pairs) >= 0.95 * len(pairs)
    return sum(pair.alarms for pair in pairs) <= 0.01 * sum(sum(pair.verdicts.values()) for pair in pairs)


def _table(pairs: Sequence[Pair], slower: float) -> str:
    words = [verdict.value for verdict in Verdict if verdict]
    rows = [
        [pair.number, *(pair.verdicts[word] for word in words), _words(pair).partition("(")[2][:-1]] for pair in pairs
    ]
    figures = sum(sum(pair.verdicts.values()) for pair in pairs)
    if slower:
        calls = sum(pair.called for pair in pairs)
        every = sum(word == Verdict.worse.value for pair in pairs for word in pair.throughput)
        among = sum(len(pair.throughput) for pair in pairs)
        last = f"{100 * slower:g} % slower: called in {calls} of {len(pairs)} pairs, at {every} of {among} points"
    else:
        last = f"equal pairs: {sum(pair.alarms for pair in pairs)} false alarms at {figures} figures"
    return f"{tabulate(rows, headers=['pair', *words, 'throughput'], tablefmt='simple')}\n{last}"


if __name__ == "__main__":
    sys.exit(main())
