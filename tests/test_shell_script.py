"""Operations as one script and back: what is sent, what is made of an answer, whole or not.

The script itself needs mksh (its builtin print), so it is run on a virtual phone in test_transport_contract.py, and
here where the host has one.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from devices.shell_script import Answer, compile_script, parse_answer
from devices.transport import CommandResult, Exec, Op, Read, Write

TOKEN = "LABdeadbeef"
END = f"{TOKEN} end 1700000000.250000 1700000000.750000\n"


def streams(*parts: tuple[str, str, int], end: str = END) -> tuple[str, str]:
    """Both streams as a phone sends them: (stdout, stderr, status) of each operation, then the end."""
    out = "".join(f"{o}\n{TOKEN} {n} {status}\n" for n, (o, _, status) in enumerate(parts))
    err = "".join(f"{e}\n{TOKEN} {n}\n" for n, (_, e, _) in enumerate(parts))
    return out, err + end


def parsed(ops: list[Op], *parts: tuple[str, str, int], end: str = END) -> Answer:
    answer = parse_answer(ops, TOKEN, *streams(*parts, end=end))
    assert answer is not None
    return answer


def test_each_operation_gets_its_own_output() -> None:
    ops: list[Op] = [Read("/a"), Write("/b", "1"), Exec(("x",))]
    answer = parsed(ops, ("text\n", "", 0), ("", "", 0), ("out", "err\n", 3))
    assert answer.results == [
        CommandResult(ops[0], 0, "text\n", ""),
        CommandResult(ops[1], 0, "", ""),
        CommandResult(ops[2], 3, "out", "err\n"),
    ]


def test_the_phones_own_time_is_the_difference_of_its_clock() -> None:
    assert parsed([Read("/a")], ("", "", 0)).on_phone_s == 0.5


def test_a_clock_in_a_language_with_a_comma_is_read() -> None:
    assert parsed([Read("/a")], ("", "", 0), end=END.replace(".", ",")).on_phone_s == 0.5


def test_a_shell_without_a_clock_is_told_apart_from_no_time() -> None:
    assert parsed([Read("/a")], ("", "", 0), end=f"{TOKEN} end 0 0\n").on_phone_s is None


def test_only_a_read_can_be_missing() -> None:
    ops: list[Op] = [Read("/a"), Exec(("x",))]
    missing = parsed(ops, ("", "", 250), ("", "", 250)).results
    assert [(result.missing, result.status) for result in missing] == [(True, 250), (False, 250)]


def test_operations_without_a_marker_were_skipped() -> None:
    ops: list[Op] = [Read("/a"), Read("/b"), Read("/c")]
    results = parsed(ops, ("", "no\n", 1)).results
    assert [result.skipped for result in results] == [False, True, True]
    assert not any(result.ok for result in results)


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_an_answer_cut_anywhere_is_never_taken_for_whole(stream: str) -> None:
    """Cut on stderr: no answer. Cut on stdout, which the end does not stand on: no operation ends well by mistake."""
    ops: list[Op] = [Read("/a"), Exec(("x",))]
    out, err = streams(("first\n", "", 0), ("second\n", "warning\n", 0))
    whole = parse_answer(ops, TOKEN, out, err)
    assert whole is not None
    for size in range(len(out if stream == "stdout" else err)):
        if stream == "stderr":
            assert parse_answer(ops, TOKEN, out, err[:size]) is None
            continue
        answer = parse_answer(ops, TOKEN, out[:size], err)
        assert answer is not None
        for result, right in zip(answer.results, whole.results, strict=True):
            assert result == right or not result.ok


@pytest.mark.parametrize(
    "content",
    [
        f"{TOKEN} 0 1\n",  # without the empty line's newline before it: only a line of its own counts
        f"text {TOKEN} 0 0\n",
        "LABother 0 0\n\nLABother end 1 2\n",
        "\n\n\n",
        "no newline at the end",
    ],
)
def test_content_that_looks_like_a_marker_stays_content(content: str) -> None:
    results = parsed([Read("/a"), Read("/b")], (content, "", 0), ("next", "", 0)).results
    assert [result.stdout for result in results] == [content, "next"]


def test_a_program_cannot_end_the_answer_early_with_an_end_of_another_token() -> None:
    answer = parse_answer([Read("/a")], TOKEN, *streams(("x", "LABother end 1 2\n", 0), end=""))
    assert answer is None


def test_everything_is_quoted() -> None:
    script = compile_script([Read("/a b"), Write("/c'd", "$x\n"), Exec(("echo", "*"))], TOKEN, keep_going=False)
    assert "_r '/a b' || _e" in script
    assert "_w '/c'\"'\"'d' '$x\n' || _e" in script
    assert "echo '*' </dev/null" in script


SHELL = shutil.which("mksh")


@pytest.mark.skipif(SHELL is None, reason="mksh is not on this host; the phone's runs the script in the contract tests")
@pytest.mark.parametrize("keep_going", [False, True])
def test_a_script_run_by_a_real_shell_comes_back(tmp_path: Path, keep_going: bool) -> None:
    assert SHELL
    path = str(tmp_path / "it's a $file")
    ops: list[Op] = [
        Write(path, "one\n\ntwo"), Read(path), Read(f"{path}.missing"), Exec(("sh", "-c", "echo o; echo e >&2; exit 4"))
    ]  # fmt: skip
    done = subprocess.run(
        [SHELL, "-c", compile_script(ops, TOKEN, keep_going=keep_going)], capture_output=True, text=True, check=True
    )
    answer = parse_answer(ops, TOKEN, done.stdout, done.stderr)
    assert answer is not None
    written, read, missing, run = answer.results
    assert (written.ok, read.stdout, missing.missing) == (True, "one\n\ntwo", True)
    assert run.skipped is not keep_going
    if keep_going:
        assert (run.stdout, run.stderr, run.status) == ("o\n", "e\n", 4)
