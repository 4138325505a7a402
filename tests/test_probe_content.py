"""What the probe fills pages with, and how it fills, checks and frees those of a device."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.probe_process import run
from tests.sanitized_probe import BUILDS, argv_of

PAGE = os.sysconf("SC_PAGE_SIZE")
MIX = "z5,s5,c60@3,i30"
MAGIC = b"zwbpage1"


@pytest.fixture(scope="module", params=BUILDS)
def argv(request: pytest.FixtureRequest) -> list[str]:
    return argv_of(request.param)


@pytest.fixture
def device(tmp_path: Path) -> Path:
    """A file in a device's place: pages 0 to 399."""
    path = tmp_path / "device"
    path.write_bytes(bytes(400 * PAGE))
    return path


def filled(argv: list[str], device: Path, mix: str, *, seed: int = 1, words: tuple[str, ...] = ()) -> list[bytes]:
    status, reply = run(argv, "fill", f"path={device}", "lo=0", "hi=399", f"mix={mix}", f"seed={seed}", *words)
    assert status == 0, reply
    content = device.read_bytes()
    return [content[at : at + PAGE] for at in range(0, len(content), PAGE)]


def lz4_bytes(data: bytes) -> int:
    """Size of an LZ4 block of ``data`` made greedily, as the kernel's fast mode does, less its bounded effort."""
    seen: dict[bytes, int] = {}
    size = literals = at = 0
    while at < len(data) - 12:
        back = seen.get(data[at : at + 4])
        seen[data[at : at + 4]] = at
        if back is None:
            literals, at = literals + 1, at + 1
            continue
        length = 4
        while at + length < len(data) - 5 and data[back + length] == data[at + length]:
            length += 1
        size += 3 + literals + (literals >= 15) + max(0, literals - 15) // 255
        size += (length >= 19) + max(0, length - 19) // 255
        literals, at = 0, at + length
    return size + literals + len(data) - at + 2


@pytest.mark.parametrize("ratio", [1.5, 2, 2.5, 3, 5, 10])
def test_compressible_pages_shrink_to_what_was_asked(argv: list[str], device: Path, ratio: float) -> None:
    pages = filled(argv, device, f"c100@{ratio:g}")
    for size in (lambda page: len(zlib.compress(page)), lz4_bytes):
        measured = sum(PAGE / size(page) for page in pages[:30]) / 30
        assert measured == pytest.approx(ratio, rel=0.25)


def test_incompressible_pages_do_not_shrink(argv: list[str], device: Path) -> None:
    for page in filled(argv, device, "i100")[:50]:
        # Less than 2 % gained, by compressors that take more time than the kernel's.
        assert len(zlib.compress(page, 9)) > 0.98 * PAGE
        assert lz4_bytes(page) > 0.98 * PAGE


def test_same_filled_pages_repeat_one_word_of_any_width(argv: list[str], device: Path) -> None:
    pages = filled(argv, device, "s100")
    for page in pages:
        assert page == page[:4] * (PAGE // 4)
        assert page != bytes(PAGE)
    assert len(set(pages)) > 390


def test_pages_are_unique_and_say_what_they_are(argv: list[str], device: Path) -> None:
    seed = 2**64 - 1
    pages = filled(argv, device, "c50@3,i50", seed=seed)
    assert len(set(pages)) == 400
    for number, page in enumerate(pages):
        assert page[:8] == MAGIC
        assert np.frombuffer(page[8:24], "<u8").tolist() == [seed, number]


def test_mix_decides_page_by_page_and_not_by_order(argv: list[str], device: Path, tmp_path: Path) -> None:
    first = filled(argv, device, MIX)
    other = tmp_path / "other"
    other.write_bytes(bytes(400 * PAGE))
    assert filled(argv, other, MIX, words=("pick=400", "pick_seed=9")) == first
    assert filled(argv, other, MIX, seed=2) != first


def test_zero_pages_are_counted_as_they_are(argv: list[str], device: Path) -> None:
    _, reply = run(argv, "fill", f"path={device}", "lo=0", "hi=399", "mix=z50,i50", "seed=1")
    content = device.read_bytes()
    zero = sum(content[at : at + PAGE] == bytes(PAGE) for at in range(0, len(content), PAGE))
    assert (reply["zero"], reply["same"], reply["pages"]) == (zero, 0, 400)
    assert 100 < zero < 300


def test_pick_draws_distinct_pages_as_the_readme_says(argv: list[str], device: Path) -> None:
    _, reply = run(argv, "fill", f"path={device}", "lo=100", "hi=299", "pick=50", "pick_seed=5", "mix=i100", "seed=1")
    content = device.read_bytes()
    written = {at // PAGE for at in range(0, len(content), PAGE) if content[at : at + 8] == MAGIC}
    assert (reply["pages"], len(written)) == (50, 50)
    assert written == set(drawn(range(100, 300), 50, 5))


def drawn(items: range, pick: int, seed: int) -> list[int]:
    """The recipe of probe/README.md, written down again."""
    pool, state, mask = list(items), seed, 2**64 - 1
    for i in range(pick):
        state = (state + 0x9E3779B97F4A7C15) & mask
        z = state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        other = i + (z ^ (z >> 31)) % (len(pool) - i)
        pool[i], pool[other] = pool[other], pool[i]
    return pool[:pick]


@pytest.mark.parametrize(
    "words", ["lo=5 hi=4", "lo=0 hi=400", "lo=0 hi=9 pick=11 pick_seed=1", "lo=0 hi=9 pick=0 pick_seed=1",
              "lo=0 hi=9 pick=3", "lo=0 hi=9 pick_seed=3", "lo=0 hi=18446744073709551615"],
)  # fmt: skip
def test_bad_selection_is_refused_and_writes_nothing(argv: list[str], device: Path, words: str) -> None:
    status, reply = run(argv, "fill", f"path={device}", *words.split(), "mix=i100", "seed=1")
    assert (status, reply["ok"]) == (1, False)
    assert device.read_bytes() == bytes(400 * PAGE)


def verify(argv: list[str], device: Path, *words: str, seed: int = 1, mix: str = MIX) -> dict[str, object]:
    status, reply = run(argv, "verify", f"path={device}", "lo=0", "hi=399", f"mix={mix}", f"seed={seed}", *words)
    assert status == 0
    return {name: reply[name] for name in ("pages", "corrupt", "zeroed", "misplaced", "damaged", "first_corrupt")}


GOOD = {"pages": 400, "corrupt": 0, "zeroed": 0, "misplaced": 0, "damaged": 0, "first_corrupt": []}


def test_verify_tells_how_pages_are_wrong(argv: list[str], device: Path) -> None:
    pages = filled(argv, device, MIX)
    numbers = [number for number, page in enumerate(pages) if page[:8] == MAGIC][:3]
    assert verify(argv, device) == GOOD
    run(argv, "corrupt", f"path={device}", f"page={numbers[0]}")
    with device.open("r+b") as file:
        file.seek(numbers[1] * PAGE)
        file.write(pages[numbers[2]])
        file.seek(numbers[2] * PAGE)
        file.write(bytes(PAGE))
    wrong = {"corrupt": 3, "zeroed": 1, "misplaced": 1, "damaged": 1, "first_corrupt": numbers}
    assert verify(argv, device) == GOOD | wrong


def test_verify_knows_the_pages_of_another_seed(argv: list[str], device: Path) -> None:
    filled(argv, device, "i100", seed=2)
    _, reply = run(argv, "verify", f"path={device}", "lo=0", "hi=399", "mix=i100", "seed=1")
    assert (reply["corrupt"], reply["misplaced"]) == (400, 400)


def hash_of(body: bytes) -> int:
    """The header's hash of what follows it, written down again."""
    value, mask = PAGE, 2**64 - 1
    for word in np.frombuffer(body, "<u8").tolist():
        value = (((value ^ word) * 0x100000001B3) ^ (value >> 29)) & mask
    return value


@pytest.mark.parametrize(("mix", "corrupt"), [("f100", 1), ("h100", 2)])
def test_a_page_of_a_file_that_has_changed_is_known_by_its_hash(
    argv: list[str], device: Path, mix: str, corrupt: int
) -> None:
    """Of two pages that are not as they would be filled today one has the hash of what it holds."""
    pages = filled(argv, device, mix)
    other = bytes(range(256)) * (PAGE // 256)
    with device.open("r+b") as file:
        file.write(pages[0][:24] + hash_of(other[32:]).to_bytes(8, "little") + other[32:])
        file.write(pages[1][:32] + other[32:])
    _, reply = run(argv, "verify", f"path={device}", "lo=0", "hi=399", f"mix={mix}", "seed=1")
    assert (reply["corrupt"], reply["damaged"]) == (corrupt, corrupt)


def test_pages_of_files_are_the_same_in_each_process_and_unique(argv: list[str], device: Path) -> None:
    pages = filled(argv, device, "f100")
    assert len(set(pages)) == 400
    assert len({page[32:] for page in pages}) > 150
    assert verify(argv, device, mix="f100") == GOOD
    assert filled(argv, device, "f100", seed=2) != pages


def test_verify_of_a_pick_reads_those_pages_only(argv: list[str], device: Path) -> None:
    run(argv, "fill", f"path={device}", "lo=0", "hi=399", "pick=100", "pick_seed=3", f"mix={MIX}", "seed=1")
    assert verify(argv, device, "pick=100", "pick_seed=3") == GOOD | {"pages": 100}
    assert verify(argv, device, "pick=100", "pick_seed=4") != GOOD | {"pages": 100}


def test_what_is_no_device_is_refused(argv: list[str], tmp_path: Path) -> None:
    for path, errno in ((tmp_path, "ENOTBLK"), (Path("/dev/null"), "ENOTBLK"), (tmp_path / "none", "ENOENT")):
        status, reply = run(argv, "fill", f"path={path}", "lo=0", "hi=0", "mix=i100", "seed=1")
        assert (status, reply["errno"]) == (1, errno)


def loop_devices_work(argv: list[str], folder: Path) -> str:
    """Empty, or why this host cannot attach a loop device: containers often may not."""
    if os.geteuid():
        return "attaching a loop device needs root"
    words = [f"file={folder / 'trial'}", "size=65536", "direct=0", "block=4096", "allocate=0", "pin=0"]
    status, reply = run(argv, "loop-attach", *words)
    run(argv, "loop-detach", f"file={folder / 'trial'}", "remove=1")
    return str(reply["error"]) if status else ""


@pytest.fixture
def image(argv: list[str], tmp_path: Path) -> Iterator[Path]:
    """The name of a backing file that does not exist yet; detached and removed afterwards."""
    if reason := loop_devices_work(argv, tmp_path):
        pytest.skip(f"{reason}; tests/test_probe_phone.py does this on the virtual phone")
    yield tmp_path / "image"
    run(argv, "loop-detach", f"file={tmp_path / 'image'}", "remove=1")


def attach(argv: list[str], image: Path, size: int = 1 << 20, **other: int) -> tuple[int, dict[str, object]]:
    options = {"direct": 0, "block": 4096, "allocate": 1, "pin": 0} | other
    return run(
        argv, "loop-attach", f"file={image}", f"size={size}", *(f"{key}={value}" for key, value in options.items())
    )


def test_loop_is_attached_and_detached_with_its_file(argv: list[str], image: Path) -> None:
    status, reply = attach(argv, image)
    assert status == 0, reply
    assert (reply["block_size"], reply["file_bytes"], reply["created"]) == (4096, 1 << 20, 1)
    assert reply["allocated_bytes"] == 1 << 20
    assert image.stat().st_mode & 0o777 == 0o600
    status, again = attach(argv, image)
    assert (status, again["errno"]) == (1, "EBUSY")
    results = [run(argv, "loop-detach", f"file={image}", "remove=1")[1] for _ in range(2)]
    assert [(result["detached"], result["removed"]) for result in results] == [(1, 1), (0, 0)]
    assert not image.exists()


def test_loop_takes_what_the_command_line_says(argv: list[str], image: Path) -> None:
    image.write_bytes(b"kept" + bytes(8188))
    _, reply = attach(argv, image, allocate=0, block=512)
    assert (reply["block_size"], reply["allocated_bytes"], reply["created"]) == (512, 8192, 0)
    assert image.read_bytes()[:4] == b"kept"


def test_file_of_a_removed_name_is_detached_too(argv: list[str], image: Path) -> None:
    attach(argv, image)
    image.unlink()
    assert run(argv, "loop-detach", f"file={image}")[1]["detached"] == 1


def test_no_room_leaves_nothing_behind(argv: list[str], image: Path) -> None:
    status, reply = attach(argv, image, size=1 << 60)
    assert (status, reply["errno"]) == (1, "ENOSPC")
    assert not image.exists()
    image.write_bytes(bytes(4096))
    assert attach(argv, image, size=1 << 60)[0] == 1
    assert image.stat().st_size == 4096


def test_pages_of_a_loop_device_are_filled_freed_and_checked(argv: list[str], image: Path) -> None:
    loop = str(attach(argv, image)[1]["loop"])
    where = (f"path={loop}", "lo=0", "hi=255")
    assert run(argv, "fill", *where, "mix=i100", "seed=1")[1]["pages"] == 256
    assert run(argv, "free", *where, "pick=100", "pick_seed=1")[1]["pages"] == 100
    reply = run(argv, "verify", *where, "mix=i100", "seed=1")[1]
    assert (reply["pages"], reply["corrupt"], reply["zeroed"]) == (256, 100, 100)
