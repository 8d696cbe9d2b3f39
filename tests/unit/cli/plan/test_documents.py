"""YAML as Kubernetes reads it. Each line was measured with kubectl 1.35 (`kubectl label --local -o json`), which has no
server and no definition to ask; tests/chart/test_kubectl_yaml.py asks it again."""

from __future__ import annotations

import json
import math
import random
import re
from typing import Any

import pytest
from dask_gitops.cli.plan import documents
from dask_gitops.cli.plan.documents import DocumentError

from tests.support import steps
from tests.support.yaml_words import DOCUMENTS, HEAD, REFUSED, WORDS


def value(text: str) -> Any:
    (found,) = documents.read(text)
    return found["x"]


@pytest.mark.parametrize(("word", "means"), WORDS.items())
def test_a_word(word: str, means: Any) -> None:
    found = value(f"{HEAD}x: {word}\n")
    assert found == means
    assert type(found) is type(means)


@pytest.mark.parametrize(("text", "means"), DOCUMENTS.values(), ids=DOCUMENTS)
def test_a_document(text: str, means: Any) -> None:
    assert value(text) == means


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED)
def test_what_kubernetes_refuses(text: str) -> None:
    with pytest.raises(DocumentError):
        documents.read(text)


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, "the key 'a' is there twice"),
        ("a: {1: 2,\n '1': 3}\n", 2, "the key '1' is there twice"),
        ('{"a": {"b": 1, "b": 2}}', None, "the key 'b' is there twice"),
        ("a: 1\nb: " + "[" * 101 + "]" * 101, 2, "nested deeper than 100 levels"),
        ("a: 1\nb: " + "[" * 200_000, 2, "nested deeper than 100 levels"),
        ('{"a": ' + "[" * 200 + "]" * 200 + "}", None, "nested deeper than 100 levels"),
        ('{"a": "\\ud800"}', None, "no Unicode text"),
        ("a: 1\n--- b\n", 2, "behind ---"),
    ],
)
def test_what_is_refused_by_us(text: str, line: int | None, said: str) -> None:
    with pytest.raises(DocumentError, match=re.escape(said)) as error:
        documents.read(text)
    assert error.value.line == line


def test_several_documents() -> None:
    assert documents.read("a: 1\n---\n---\n# none\n--- # b\nb: 08\n...\n") == [
        {"a": 1},
        None,
        None,
        {"b": 8},
    ]
    assert documents.read('{"a": 1}\n{"b": 1e3}') == [{"a": 1}, {"b": 1000}]
    assert documents.read("") == []


def test_an_alias_is_a_copy() -> None:
    found = value(f"{HEAD}x: [&a {{b: [1]}}, *a]\n")
    found[0]["b"].append(2)
    assert found == [{"b": [1, 2]}, {"b": [1]}]


def test_some_lines_that_would_make_billions() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    with pytest.raises(DocumentError, match="aliases"):
        documents.read("\n".join(lines))


def test_any_word_of_digits_and_signs_has_a_meaning() -> None:
    """Nothing raises, and no number is one that JSON or 64 bits do not hold."""
    rng = random.Random(1)
    for _ in range(20_000):
        word = "".join(rng.choices("0123456789+-._eExXoObBaAfFnNiI:", k=rng.randint(1, 9)))
        found = documents.resolve(word)
        assert found is None or isinstance(found, bool | int | float | str)
        if isinstance(found, float):
            assert math.isfinite(found) or "." in word


def test_time_grows_with_the_length() -> None:
    def lines(size: int) -> str:
        return "".join(f"k{n}: {{a: 08, b: [1e3, on, x-{n}]}}\n" for n in range(size))

    def make_json(size: int) -> Any:
        text = "\n".join(json.dumps({"a": n}) for n in range(size))
        return lambda: documents.read(text)

    def make_yaml(size: int) -> Any:
        text = lines(size)
        return lambda: documents.read(text)

    steps.is_linear(make_yaml, 2_000)
    steps.is_linear(make_json, 10_000)
