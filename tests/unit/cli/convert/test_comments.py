"""Comments stay with their keys, and what is written is read back as it was."""

from __future__ import annotations

import random
from typing import Any

import pytest
from dask_gitops.cli.convert import manifests
from dask_gitops.cli.convert.comments import Comment, comments, moved
from dask_gitops.cli.convert.running import written
from dask_gitops.cli.convert.writing import write
from dask_gitops.cli.plan.documents import read

from tests.manifests import HERE, NAMES
from tests.support.conversions import CHART, CLASSIC, OPERATOR

TEXT = """\
# the file

a: 1  # one
# before b
b:
  # before c
  c: "x # no comment"  # beside c
  # d: 2
# before e
e:
  - 1  # first
  # second
  - f: |
      # no comment
      text
    g: {h: 1}  # in a line
  # end of e
k: [1, 2] # list
# the end
"""


def test_whose_they_are() -> None:
    (found,) = comments(TEXT)
    assert found == {
        ("a",): Comment([" the file"], " one"),
        ("b",): Comment([" before b"]),
        ("b", "c"): Comment([" before c"], " beside c", [" d: 2"]),
        ("e",): Comment([" before e"]),
        ("e", 0): Comment([], " first"),
        ("e", 1): Comment([" second"], None, [" end of e"]),
        ("e", 1, "g", "h"): Comment([], " in a line"),
        ("k", 1): Comment([], " list"),
        ("k",): Comment([], None, [" the end"]),
    }


def test_where_nothing_moves_all_stay() -> None:
    (document,) = read(TEXT)
    (said,) = comments(TEXT)
    text = write(document, moved(said, {(): ()}, document))
    assert read(text) == [document]
    assert comments(text) == [said]
    again = write(document, moved(comments(text)[0], {(): ()}, document))
    assert again == text


def words(text: str) -> list[str]:
    return [
        line
        for each in comments(text)
        for one in each.values()
        for line in [*one.before, *([] if one.beside is None else [one.beside]), *one.below]
    ]


def test_where_a_key_is_no_more_they_stay_with_what_held_it() -> None:
    (said,) = comments("a:\n  b: 1  # gone\n  c: 2\n# d\nd: 1\n")
    assert moved(said, {(): (), ("a",): ("x", "y"), ("d",): None}, {"x": {"y": {"c": 2}}}) == {
        ("x", "y"): Comment([" gone"])
    }


def test_documents_have_their_own() -> None:
    assert comments("# a\na: 1\n---\n# b\nb: 1\n---\n") == [
        {("a",): Comment([" a"])},
        {("b",): Comment([" b"])},
        {},
    ]
    assert comments("# nothing\n") == []
    assert comments("\ufeffa: 1 # b\n") == [{("a",): Comment([], " b")}]


@pytest.mark.parametrize("to", ["values", "manifests"])
@pytest.mark.parametrize(
    "text",
    [
        *((HERE / f"{name}.yaml").read_text() for name in NAMES if name != "autoscaler"),
        *OPERATOR.values(),
        *CLASSIC.values(),
        *CHART.values(),
    ],
)
def test_none_is_lost(text: str, to: str) -> None:
    """Each comment of a source is in what comes of it, once."""
    said = comments(text) if text[:1] != "{" else [{}]
    found = manifests.convert(read(text), "f.yaml")
    out, document = written(found, said, to)
    assert sorted(words(out)) == sorted(words(text))
    assert read(out) == (document if to == "manifests" else [document])


def test_where_they_are() -> None:
    text = OPERATOR["all"]
    found = manifests.convert(read(text), "f.yaml")
    out, _ = written(found, comments(text), "values")
    lines = [" ".join(line.split()) for line in out.splitlines()]
    for line in (
        "why: demonstration # of everything",
        "timeout: 3600 # an hour",
        "type: LoadBalancer # the office network",
        "minimum: 1 # never nothing",
    ):
        assert line in lines
    for comment, key in (
        ("# What the platform team wrote.", "demo:"),
        ("# A second kind of workers.", "gpu:"),
        ("# Labels of the workers.", "metadata:"),
        ("# Memory first.", "resources:"),
        ("# As many as there are cards.", "replicas: 2"),
    ):
        assert lines[lines.index(comment) + 1] == key
    text = CLASSIC["documented"]
    out, _ = written(manifests.convert(read(text), "f.yaml"), comments(text), "values")
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert "foo: bar # whose it is" in lines
    assert lines[lines.index("# it installs first") + 1].startswith("- ")


ODD: list[Any] = [
    "", " ", "a", "on", "yes", "~", "null", "NULL", "08", "1e3", "0x1f", "0b1", "0o7", "12:30", "12:30:45", "2030-01-01",
    "1_000", "-", "--", "---", "...", "- a", "? a", "a: b", "a:", ":a", "a #b", "#a", "&a", "*a", "!a", "|", ">", "%a",
    "@a", "`a", "'a'", '"a"', "[a]", "{a}", ",a", "=", "<<", "a\n", "a\nb", "a\nb\n", "a\n\n", "\na", " a\nb", "a \nb",
    "\ta", "a\tb", "é", "😀", "\u2028", "\x7f", "\x85", "\ufeff", ".inf", ".nan", "-.5", "+1", "1.", "1e400", "$(A)", "${A}",
    "tcp://x:8786", "--name", "-n", "-1", "4Gi", "60s", "500m", "1.5", 1.5, 1e21, 1e-7, 0, -1, True, False, None, [], {},
    [[]], [[1, [2]]], [{}], {"a": {}}, "a" * 300, "100", "0", "1:2", "a:b", "y", "n", "N", "True", "0.1.2", "1e", "e1", "0e", "7E5",
]  # fmt: skip


@pytest.mark.parametrize("value", ODD, ids=repr)
def test_whatever_is_written_is_read_back(value: Any) -> None:
    for document in (value, {"a": value}, [value, value], {"a": [{"b": value, "c": value}]}):
        assert read(write(document)) == [document]
    if isinstance(value, str):
        assert read(write({value: value})) == [{value: value}]


def test_whatever_is_written_is_read_back_with_comments() -> None:
    rng = random.Random(7)

    def some(depth: int = 0) -> Any:
        kind = rng.random()
        if depth > 3 or kind < 0.4:
            return rng.choice(ODD)
        if kind < 0.7:
            return {rng.choice("abcdefg"): some(depth + 1) for _ in range(rng.randrange(4))}
        return [some(depth + 1) for _ in range(rng.randrange(4))]

    def places(value: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        parts = (
            value.items()
            if isinstance(value, dict)
            else enumerate(value)
            if isinstance(value, list)
            else ()
        )
        return [here, *(p for part, inner in parts for p in places(inner, (*here, part)))]

    for _ in range(300):
        document = some()
        said = {place: Comment(["before"], "beside", ["below"]) for place in places(document)}
        assert read(write(document, said)) == [document]
