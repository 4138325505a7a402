"""``python -m tests.history_scale [--phones 1000] [--nights 365] [--run FOLDER]``: what a large shelf's history costs.

Rows are made up and go through the code that real ones do. Times are CPU seconds, which a busy computer does not
stretch. ``--run`` adds to the night what reading a folder like this one takes for each phone. Exit status 1 where a
bound is not kept; the bounds are those of 1 000 phones.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from farm.history.figures import Watched
from farm.history.folder import RunKind, read_folder
from farm.history.index import HistoryIndex, open_index
from farm.history.night import judge_nights
from farm.history.pages import fleet_page, phone_page
from tests.history_farm import CONTROL, FIRST, Shelf

PER_KIND = 50
BATCHES = (1, 8, 32, 64, 128)
SERIES = (
    CONTROL,
    *(
        Watched("writeback_throughput", f"{batch} {order}", "writeback.throughput", "", "MiB/s", "higher")
        for batch in BATCHES
        for order in ("sparse", "sequential")
    ),
    *(
        Watched("fault_latency_writeback", f"batch_size={batch}", "fault.latency", quantile, "ns", "lower")
        for batch in BATCHES
        for quantile in ("p50", "p99")
    ),
    *(
        Watched("app_switch", f"writeback={trigger}", "switch.latency", "p50", "ms", "lower")
        for trigger in ("off", "idle", "background")
    ),
)
BOUNDS = {"night appended, CPU s": 10.0, "fleet page, CPU s": 1.0, "fleet page, MB": 1.0, "phone's year, CPU s": 0.1,
          "year, MB": 600.0}  # fmt: skip


def shelves(phones: int) -> Sequence[Shelf]:
    """Phones of 20 kinds, or of fewer where there are fewer phones; one kind has a step in its last nights."""
    kinds = [RunKind(f"profile-{n}", "6.6.1-android15", f"vendor/device{n}/{n}:15", "nightly") for n in range(20)]
    return [
        Shelf(kind, PER_KIND, SERIES, seed=n, prefix=f"S{n:02}-") for n, kind in enumerate(kinds[: phones // PER_KIND])
    ]


def append(index: HistoryIndex, shelf_of: Sequence[Shelf], night: int) -> None:
    """A night's runs into the index, judged."""
    made = [each for shelf in shelf_of for each in shelf.night(night)]
    with index.writing():
        for folder, run in made:
            index.add(folder, run)


def cost(work: Callable[[], object]) -> float:
    """CPU seconds of this process that something takes."""
    began = time.process_time()
    work()
    return time.process_time() - began


def measure(folder: Path, phones: int, nights: int) -> Mapping[str, float]:
    """Fill an index, the last nights of it one by one as a lab does, and tell what the bounds are for."""
    path = folder / "index.sqlite3"
    shelf_of = shelves(phones)
    shelf_of = [replace(shelf_of[0], step=0.08, since=FIRST + nights - 7), *shelf_of[1:]]
    with open_index(path) as index:
        for night in range(FIRST, FIRST + nights - 1):
            append(index, shelf_of, night)
        judge_nights(index)
        made = [each for shelf in shelf_of for each in shelf.night(FIRST + nights - 1)]

        def last_night() -> None:
            with index.writing():
                for each in made:
                    index.add(*each)
            assert judge_nights(index) == 1

        appended = cost(last_night)
    pages: dict[str, str] = {}
    with open_index(path) as index:  # what is imported and compiled once is no cost of a page
        phone_page(index, "S00-0001")
        fleet_page(index)
    with open_index(path) as index:
        phone = cost(lambda: pages.update(phone=phone_page(index, "S00-0007")))
    with open_index(path) as index:
        fleet = cost(lambda: pages.update(fleet=fleet_page(index)))
    size = sum(each.stat().st_size for each in folder.iterdir())
    return dict(zip(BOUNDS, (
        appended, fleet, len(pages["fleet"].encode()) / 1e6, phone, size / 1e6 * 365 / nights,
    ), strict=True))  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--phones", type=int, default=1000)
    parser.add_argument("--nights", type=int, default=365)
    parser.add_argument("--run", type=Path, metavar="FOLDER")
    wanted = parser.parse_args()
    with TemporaryDirectory() as folder:
        found = dict(measure(Path(folder), wanted.phones, wanted.nights))
    if wanted.run:
        found["night appended, CPU s"] += cost(lambda: [read_folder(wanted.run) for _ in range(wanted.phones)])
    for name, value in found.items():
        print(f"{name:24} {value:8.3f}   bound {BOUNDS[name]:g}", flush=True)
    return int(any(value > BOUNDS[name] for name, value in found.items()))


if __name__ == "__main__":
    sys.exit(main())
