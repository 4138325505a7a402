"""``./lab doctor --content``: a mix of pages like those that a phone's zram holds, told by its counters."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import yaml

from base.deadline import Deadline
from base.errors import DeviceError
from base.kernel import PAGE_4K
from commands import doctor
from devices.counters import MmStat
from devices.fake.content import COMPRESSIBLE, HEAP, INCOMPRESSIBLE, SAME, make_contents, parse_mix
from devices.fake.phone import FakePhone
from devices.page_mix import PageMix, mix_of, read_mix
from devices.profiles.profile import Compressors, PageKind, Profile

PAGES = 20_000


def phone_with(mix: str, algorithm: str = "zstd") -> FakePhone:
    """Its zram0 holds such pages."""
    phone = FakePhone()
    zram = phone.zrams[0]
    zram.write("comp_algorithm", algorithm)
    zram.write("disksize", str(PAGES * PAGE_4K))
    zram.store(np.arange(PAGES), make_contents(parse_mix(mix), 7, np.arange(PAGES)))
    return phone


def mix_on(phone: FakePhone) -> PageMix:
    return read_mix(phone, 0, page_bytes=PAGE_4K, deadline=Deadline.after(5))


def shares_of(mix: str) -> dict[int, float]:
    return {share.kind: share.permille / 1000 for share in parse_mix(mix)}


@pytest.mark.parametrize("algorithm", ["zstd", "lz4"])
@pytest.mark.parametrize("mix", [PageKind.mixed.mix, "s2.5,i30,h67.5", "h100", "s20,h50,c30@8", "i5,h60,c35@1.6"])
def test_a_phone_filled_with_the_mix_that_was_told_counts_the_same(mix: str, algorithm: str) -> None:
    first = mix_on(phone_with(mix, algorithm))
    again = mix_on(phone_with(first.mix, algorithm))
    for name in ("same", "incompressible"):
        assert getattr(again, name) / PAGES == pytest.approx(getattr(first, name) / PAGES, abs=0.01)
    # The fake's zstd makes a fifth less of compressible pages than was asked for.
    assert again.ratio == pytest.approx(first.ratio, rel=0.1)
    assert again.together == pytest.approx(first.together, rel=0.1)


def test_the_phone_that_mixed_is_made_after_gets_mixed() -> None:
    """1 045 874 pages, of which 11.1 % were same-filled and 8.3 % incompressible; the rest shrank to 1/3.59."""
    pages = 1_045_874
    same, huge = round(0.111 * pages), round(0.083 * pages)
    compressed = round((pages - same - huge) * PAGE_4K / 3.59) + huge * PAGE_4K
    mm = MmStat(pages * PAGE_4K, compressed, compressed, 0, compressed, same, 0, huge, huge)
    found = mix_of(mm, 0, page_bytes=PAGE_4K, algorithm="zstd")
    assert found is not None
    assert found.together == pytest.approx(3.25, abs=0.01)
    shares, mixed = shares_of(found.mix), shares_of(PageKind.mixed.mix)
    assert [shares[kind] for kind in (SAME, INCOMPRESSIBLE)] == [mixed[kind] for kind in (SAME, INCOMPRESSIBLE)]
    assert shares[HEAP] == pytest.approx(mixed[HEAP], abs=0.01)


@pytest.mark.parametrize(("ratio", "other"), [(1.0, 1.5), (50.0, 20.0)])
def test_ratios_that_no_mix_has_get_the_nearest(ratio: float, other: float) -> None:
    mix = PageMix(10_000, 0, 0, ratio, ratio, "lz4").mix
    assert mix == f"c100@{other:g}"
    assert shares_of(mix) == {COMPRESSIBLE: 1.0}


def test_pages_that_were_written_back_are_not_taken_for_pages_in_memory() -> None:
    phone = phone_with("s10,i20,h70")
    whole = mix_on(phone)
    mm = MmStat.parse(phone.zrams[0].books("mm_stat"))
    more = MmStat(mm.orig_data_size + 500 * PAGE_4K, *list(mm.facts().values())[1:])
    assert mix_of(more, 500, page_bytes=PAGE_4K, algorithm="zstd") == whole


def test_a_zram_that_holds_little_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(DeviceError, match="zram0 holds fewer than 1000 pages"):
        mix_on(FakePhone())
    with_phones(monkeypatch, {"0A1B": FakePhone()})
    assert doctor.main(["--content", "--device", "0A1B"]) == 11
    assert "use the phone for a while" in yaml.safe_load(capsys.readouterr().out)["0A1B"]["problem"]


def with_phones(monkeypatch: pytest.MonkeyPatch, phones: dict[str, FakePhone]) -> None:
    @contextmanager
    def closing_not(phone: FakePhone) -> Iterator[FakePhone]:
        yield phone

    monkeypatch.setattr(doctor, "connect", phones.__getitem__)
    monkeypatch.setattr(doctor, "closing", closing_not)


def test_doctor_prints_a_mix_that_the_probe_takes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    phones = {"0A1B": phone_with(PageKind.mixed.mix), "2C3D": phone_with("s30,h70", "lz4")}
    with_phones(monkeypatch, phones)
    words = ["--content", "--device", "0A1B", "--device", "2C3D"]
    before = [phone.state() for phone in phones.values()]
    assert doctor.main(words) == 0
    told = yaml.safe_load(capsys.readouterr().out)
    assert [told[serial]["comp_algorithm"] for serial in phones] == ["zstd", "lz4"]
    assert told["2C3D"]["same_filled_percent"] == pytest.approx(30, abs=1)
    assert all(parse_mix(facts["own_pages"]) for facts in told.values())
    assert doctor.main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == told
    assert [phone.state() for phone in phones.values()] == before


def test_what_was_told_is_what_pages_of_a_profiles_own_are() -> None:
    told = mix_on(phone_with("s20,h50,c30@8")).mix
    profile = Profile(name="x", own_pages=told, compressors=Compressors(pages=PageKind.own))
    assert profile.mix_of(profile.compressors.pages) == told
    assert profile.mix_of(PageKind.mixed) == PageKind.mixed.mix
