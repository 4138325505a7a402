"""Pages like memory: how compressors rank on them, by the libraries that the kernel's own compressors are made of."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from devices.probe.build import build
from tests.host_compressors import COMPRESSORS
from tests.probe_process import run
from tests.test_probe_content import PAGE

COUNT = 2000
Sizes = npt.NDArray[np.int64]


def filled(folder: Path, mix: str, seed: int) -> list[bytes]:
    device = folder / "device"
    device.write_bytes(bytes(COUNT * PAGE))
    argv = [str(build(platform.machine()))]
    status, reply = run(argv, "fill", f"path={device}", "lo=0", f"hi={COUNT - 1}", f"mix={mix}", f"seed={seed}")
    assert status == 0, reply
    content = device.read_bytes()
    return [content[at : at + PAGE] for at in range(0, len(content), PAGE)]


def sizes(pages: Sequence[bytes]) -> dict[str, Sizes]:
    return {name: np.array([size(page) for page in pages]) for name, size in COMPRESSORS.items()}


def ratios(by: Mapping[str, Sizes]) -> dict[str, float]:
    return {name: PAGE * len(found) / float(found.sum()) for name, found in by.items()}


@pytest.fixture(scope="module", params=[1, 2**64 - 1])
def heap(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Sizes]:
    """Sizes of pages like a heap's, of two programs."""
    return sizes(filled(tmp_path_factory.mktemp("heap"), "h100", request.param))


def test_compressors_rank_as_on_memory(heap: dict[str, Sizes]) -> None:
    """On anonymous memory of 4 KiB pages: lz4 2.43, lz4hc 2.80, zstd 3.34, deflate 3.45."""
    ratio = ratios(heap)
    assert ratio["zstd"] >= 1.2 * ratio["lz4"]
    assert ratio["deflate"] >= 0.95 * ratio["zstd"]
    assert 1.05 * ratio["lz4"] < ratio["lz4hc"] < ratio["zstd"]


def test_pages_shrink_as_much_as_those_of_a_phone_did(heap: dict[str, Sizes]) -> None:
    assert ratios(heap)["zstd"] == pytest.approx(3.59, rel=0.12)


def test_pages_differ_in_how_much_they_shrink_and_none_is_huge(heap: dict[str, Sizes]) -> None:
    """zram keeps a page as it is from about four fifths of its size on."""
    tenth, most, largest = np.quantile(heap["lz4"], [0.1, 0.9, 1.0])
    assert most > 1.5 * tenth
    assert largest < 0.75 * PAGE


def test_pages_of_system_files_rank_compressors_too(tmp_path: Path) -> None:
    ratio = ratios(sizes(filled(tmp_path, "f100", 1)))
    assert ratio["zstd"] >= 1.2 * ratio["lz4"] > 1.2
    assert ratio["deflate"] >= 0.95 * ratio["zstd"]


def test_a_ratio_that_is_asked_for_says_nothing_about_compressors(tmp_path: Path) -> None:
    """It is met by all alike, which is why compressors are not compared on such pages."""
    ratio = ratios(sizes(filled(tmp_path, "c100@3", 1)[:300]))
    assert max(ratio.values()) < 1.1 * min(ratio.values())
