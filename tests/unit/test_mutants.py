"""The list of `make mutants` stays true to the source, and its runner says what it found."""

from __future__ import annotations

from pathlib import Path

import pytest

from ci.mutants import BROKEN, KILLED, SURVIVED, Mutant, listed, problems, report

SEEN = Mutant("plan/x.py", "a = 1", "a = 2")
EXPLAINED = Mutant("plan/x.py", "b = 1", "b = 2", survives="nobody asks for b")


def test_every_listed_line_still_stands_in_the_source() -> None:
    mutants, tests = listed()
    assert problems(mutants, tests) == []
    assert len(mutants) >= 60
    assert len(set(mutants)) == len(mutants)


def test_a_line_that_moved_on_is_named() -> None:
    with pytest.raises(ValueError, match=r"plan/x.py: a = 1: stands 0 times .* not once; bring"):
        SEEN.applied("a = 3\n")
    with pytest.raises(ValueError, match="stands 2 times"):
        SEEN.applied("a = 1\nif a:\n    a = 1\n")
    assert SEEN.applied("if b:\n    a = 1\n") == "if b:\n    a = 2\n"


def test_a_list_that_is_wrong_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "controller/dask_gitops/plan/x.py"
    file.parent.mkdir(parents=True)
    file.write_text("a = 1\n")
    found = problems(
        [SEEN, Mutant("plan/x.py", "a = 1", "a = ("), Mutant("plan/x.py", "a = 1", "a = 1")],
        {"plan/x.py": ["tests/none.py"], "plan/y.py": []},
        tmp_path,
    )
    words = ("never closed", "becomes what it is", "plan/y.py: [tests] names it", "no such test")
    assert len(found) == len(words)
    for word, said in zip(words, found, strict=True):
        assert word in said


@pytest.mark.parametrize(
    ("seen", "explained", "code", "said"),
    [
        (KILLED, SURVIVED, 0, "2 lines changed: 1 killed, 1 not\n"),
        (SURVIVED, SURVIVED, 1, "0 killed, 2 not, 1 of them unexplained"),
        (BROKEN, SURVIVED, 1, "BROKEN  plan/x.py: a = 1"),
        (KILLED, KILLED, 1, "is killed by now, so take its `survives` away"),
    ],
)
def test_the_end(
    seen: str, explained: str, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report([SEEN, EXPLAINED], {SEEN: seen, EXPLAINED: explained}) == code
    assert said in capsys.readouterr().out
