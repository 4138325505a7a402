"""Files that are no profiles: what is said, and that nothing but a ProfileError ever comes out."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest

from base.errors import EXIT_USAGE, ProfileError
from devices.profiles.reading import SHIPPED, load


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages show paths relative to the working directory."""
    monkeypatch.delenv("ZRAM_LAB_PROFILES", raising=False)
    monkeypatch.chdir(tmp_path)


def errors_of(reference: str) -> list[str]:
    with pytest.raises(ProfileError) as refused:
        load(reference)
    assert refused.value.exit_status == EXIT_USAGE
    return str(refused.value).splitlines()


def errors_in(text: str | bytes) -> list[str]:
    data = text.encode() if isinstance(text, str) else text
    Path("p.yaml").write_bytes(data)
    return errors_of("p.yaml")


ONE_MESSAGE = {
    "unclosed bracket": (
        "name: x\nsweep: [1, 2\nroot: auto\n",
        "p.yaml:3: not valid YAML: expected ',' or ']', but got ':' "
        "(while parsing a flow sequence that starts on line 2)",
    ),
    "missing blank": (
        "name: x\nroot:auto\n",
        "p.yaml:3: not valid YAML: could not find expected ':' (while scanning a simple key that starts on line 2)",
    ),
    "two colons": ("name: x: y\n", "p.yaml:1: not valid YAML: mapping values are not allowed here"),
    "undefined alias": ("name: *x\n", "p.yaml:1: not valid YAML: found undefined alias 'x'"),
    "tab indentation": ("name: x\nzram:\n\tdisksize: 1GiB\n", "p.yaml:3: tabs in the indentation; indent with spaces"),
    "tab after blanks": (
        "name: x\nzram:\n  device: takeover\n  \tdisksize: 1GiB\n",
        "p.yaml:4: tabs in the indentation; indent with spaces",
    ),
    "empty": ("", "p.yaml:1: empty; a profile is a mapping with at least a name"),
    "comments only": ("# nothing\n", "p.yaml:1: empty; a profile is a mapping with at least a name"),
    "null": ("~\n", "p.yaml:1: expected `key: value` lines at the top, not nothing"),
    "a list": ("# c\n- a\n", "p.yaml:2: expected `key: value` lines at the top, not a list"),
    "a word": ("hello\n", "p.yaml:1: expected `key: value` lines at the top, not 'hello'"),
    "two documents": ("name: x\n---\nname: y\n", "p.yaml:2: a second document starts here; a file holds one profile"),
    "not UTF-8": (b"name: x\n# caf\xe9\n", "p.yaml:2: not UTF-8 text (byte 0xe9)"),
    "UTF-16": ("name: x\n".encode("utf-16"), "p.yaml:1: not UTF-8 text (byte 0xff)"),
    "binary": (b"\x7fELF\x00\x00", "p.yaml:1: not text: control character 0x7f"),
    "too large": (b"#" * (1 << 20) + b"\n", "p.yaml: larger than 1MiB; not a profile"),
    "merge key": (
        "name: x\nsweep:\n  <<: {repeats: 3}\n",
        "p.yaml:3: <<: merge keys are not supported; use extends or plans",
    ),
    "python tag": (
        "name: x\nroot: !!python/object/apply:os.system [reboot]\n",
        "p.yaml:2: root: YAML tag '!!python/object/apply:os.system' is not allowed; expected a plain value",
    ),
    "own tag": (
        "name: !mine x\n",
        "p.yaml:1: name: YAML tag '!mine' is not allowed; expected a plain value",
    ),
    "list as a key": ("name: x\n? [a, b]\n: c\n", "p.yaml:2: a key must be a word"),
    "nested for ever": ("name: &x [*x]\n", "p.yaml:1: name[0]: an alias that contains itself"),
    "nested deeply": ("name: " + "[" * 2000, "p.yaml:1: not valid YAML: nested too deeply"),
    "multiplying aliases": (
        "a: &a [1,1,1,1,1,1,1,1,1,1]\n"
        + "".join(f"{c}: &{c} [{','.join([f'*{b}'] * 10)}]\n" for b, c in ("ab", "bc", "cd", "de", "ef", "fg", "gh")),
        "p.yaml:1: more than 10000 values; do aliases multiply?",
    ),
}


@pytest.mark.parametrize(("text", "message"), ONE_MESSAGE.values(), ids=ONE_MESSAGE)
def test_each_accident_is_one_message_with_its_place(text: str | bytes, message: str) -> None:
    assert errors_in(text) == [message]


def test_a_directory_is_no_profile() -> None:
    Path("d.yaml").mkdir()
    assert errors_of("d.yaml") == ["d.yaml: a directory; expected a profile's YAML file"]


def test_a_device_is_no_profile() -> None:
    assert errors_of("/dev/zero") == ["/dev/zero: not a regular file; expected a profile's YAML file"]


def test_a_file_that_is_not_there() -> None:
    assert errors_of("./x") == ["x: no such file"]
    assert "not a path: embedded null" in errors_of("p\0.yaml")[0]


def test_a_file_that_cannot_be_read() -> None:
    Path("p.yaml").symlink_to("p.yaml")
    assert errors_of("p.yaml") == ["p.yaml: cannot be read: Too many levels of symbolic links"]


def _mangled(text: str, rng: random.Random) -> bytes:
    """The text after a few accidents of an editor."""
    data = bytearray(text.encode())
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data))
        lines = bytes(data).splitlines(keepends=True)
        match rng.randrange(7):
            case 0:
                del data[at : at + rng.randint(1, 30)]
            case 1:
                data[at:at] = rng.choice(
                    [b"\t", b"[", b"}", b": ", b"- ", b"&a ", b"*a", b"!!x ", b'"', b"%", b"@", b"|"]
                )
            case 2:
                data[at] = rng.randrange(256)
            case 3:
                del data[max(at, 1) :]
            case 4:
                data[:] = b"".join([*lines, rng.choice(lines)])
            case 5:
                rng.shuffle(lines)
                data[:] = b"".join(lines)
            case 6:
                words = re.findall(rb"[\w-]+", bytes(data)) or [b"x"]
                data[:] = bytes(data).replace(
                    rng.choice(words), rng.choice([b"", b"-1", b"~", b"{}", b"1e999", b"\xc3"])
                )
        if not data:
            data[:] = b"\n"
    return bytes(data)


@pytest.mark.parametrize("seed", range(120))
def test_a_mangled_profile_is_read_or_refused_with_file_and_line(seed: int) -> None:
    rng = random.Random(seed)
    shipped = (SHIPPED / f"{rng.choice(['virtual', 'generic', 'galaxy-s23'])}.yaml").read_text(encoding="utf-8")
    Path("p.yaml").write_bytes(_mangled(shipped, rng))
    try:
        load("p.yaml")
    except ProfileError as error:
        for line in str(error).splitlines():
            assert re.match(r"p\.yaml:\d+: \S", line)
            assert len(line) < 500


def test_most_mangled_profiles_are_refused() -> None:
    """Else the test above would show nothing."""
    shipped = (SHIPPED / "virtual.yaml").read_text(encoding="utf-8")
    refused = 0
    for seed in range(40):
        Path("p.yaml").write_bytes(_mangled(shipped, random.Random(seed)))
        try:
            load("p.yaml")
        except ProfileError:
            refused += 1
    assert refused >= 20
