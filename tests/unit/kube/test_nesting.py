"""One object that nests as deep as it likes costs itself only."""

from __future__ import annotations

import json
import random
import time
from typing import Any

import pytest
from dask_gitops.kube.nesting import MAX_LEVELS, Cut, decode, shallow


def nested(levels: int, kind: str) -> bytes:
    """JSON of so many levels of objects, of lists, or of both in turns; words in it look like brackets."""
    first, second = {
        "objects": ('{"a]}":', '{"a":'),
        "lists": ('["[[{",', "["),
        "both": ('{"\\"{":', "[1,"),
    }[kind]
    opened = [(first, second)[n % 2] for n in range(levels)]
    closed = ["}" if text[0] == "{" else "]" for text in reversed(opened)]
    return ("".join(opened) + '"\\\\"' + "".join(closed)).encode()


def levels_of(value: Any) -> int:
    level, found = [value], 0
    while level:
        found += 1
        level = [
            child
            for parent in level
            if isinstance(parent, dict | list)
            for child in (parent.values() if isinstance(parent, dict) else parent)
        ]
    return found - 1  # the innermost words


@pytest.mark.parametrize("kind", ["objects", "lists", "both"])
@pytest.mark.parametrize("levels", [1, 99, 100, 101, 102, 500, 900, 1_000, 10_000, 100_000])
def test_what_is_too_deep_is_cut_and_all_else_stays(levels: int, kind: str) -> None:
    deep = nested(levels - 1, kind) if levels > 1 else b"1"
    raw = b'{"metadata": {"name": "a[{"}, "spec": ' + deep + b', "last": [1, {"b": "}"}]}'
    found = shallow(decode(raw))
    assert found["metadata"] == {"name": "a[{"}
    assert found["last"] == [1, {"b": "}"}]
    assert isinstance(found, Cut) == (levels > MAX_LEVELS)
    if levels <= MAX_LEVELS:
        assert found == json.loads(raw)
    else:
        assert levels_of(found) == MAX_LEVELS


def test_only_the_object_that_is_too_deep_is_cut() -> None:
    """Those before and after it in a list are whole, also where they are as deep as they may be."""
    whole = b'{"spec": ' + nested(MAX_LEVELS - 1, "both") + b"}"
    deep = b'{"metadata": {"name": "deep"}, "spec": ' + nested(100_000, "both") + b"}"
    raw = b'{"items": [' + b",".join([whole, deep, whole, deep, whole]) + b"]}"
    items = [shallow(item) for item in decode(raw, above=2)["items"]]
    assert [isinstance(item, Cut) for item in items] == [False, True, False, True, False]
    assert items[0] == items[2] == items[4] == json.loads(whole)
    assert items[1]["metadata"] == {"name": "deep"}


@pytest.mark.parametrize(
    "raw", [b"", b"<html>", b"[" * 100_000, b'{"a' * 5_000, b"]" * 9, b'{"a":"']
)
def test_what_is_no_json_is_a_value_error(raw: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode(raw)


@pytest.mark.parametrize("decoded", [None, 1, "a", [1]])
def test_what_is_no_object_comes_back(decoded: Any) -> None:
    assert shallow(decoded) is decoded


def test_random_json_is_read_as_it_is() -> None:
    """Emptying at a level that nothing reaches changes nothing; at one that is reached, what lies above it stays."""
    from dask_gitops.kube.nesting import _emptied

    rng = random.Random(1)

    def drawn(depth: int) -> Any:
        kind = rng.randrange(6 if depth else 3)
        if kind < 3:
            return rng.choice([1, None, "", '"', "\\", '[{"', "}]\\\\", "ä\n"])
        inner = [drawn(depth - 1) for _ in range(rng.randrange(4))]
        return inner if kind == 3 else {f"{n}]{{": item for n, item in enumerate(inner)}

    def above(value: Any, levels: int) -> Any:
        if isinstance(value, dict):
            return {k: above(v, levels - 1) for k, v in value.items()} if levels > 1 else {}
        if isinstance(value, list):
            return [above(v, levels - 1) for v in value] if levels > 1 else []
        return value

    for _ in range(2_000):
        value = drawn(6)
        raw = json.dumps(value).encode()
        for levels in (1, 2, 4, 9):
            assert json.loads(_emptied(raw, levels)) == above(value, levels)


@pytest.mark.parametrize(
    "shape",
    [
        lambda n: nested(n, "both"),
        lambda n: b'{"a":"' + b"[" * n + b'"}' + nested(1_000, "lists"),
        lambda n: b"[" + b",".join([b'"a"'] * n) + b"]",
        lambda n: b'"' + b"\\\\" * n,
        lambda n: b'"a' * n,
    ],
)
def test_the_time_grows_with_the_length_only(shape: Any) -> None:
    from dask_gitops.kube.nesting import _emptied

    def spent(n: int) -> float:
        raw, begun = shape(n), time.process_time()
        _emptied(raw, 50)
        return time.process_time() - begun

    once = min(spent(50_000) for _ in range(3))
    assert min(spent(200_000) for _ in range(3)) < 10 * once + 0.05
