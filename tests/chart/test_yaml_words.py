"""What YAML makes of words and numbers: refused where a key or a value cannot be what was written, and variables that use each other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Helm, Manifest

One = Callable[..., Manifest]
Write = Callable[[str], Path]

ENV = "clusters: {{demo: {{worker: {{env: {}}}}}}}"
PATH = "clusters.demo.worker.env"
REFUSED = {
    "N as a variable": (ENV.format("{N: '1'}"), [PATH, "quote it"]),
    "ON as a variable": (ENV.format("{ON: '1'}"), [PATH, "quote it"]),
    "y as a variable": (ENV.format("{y: '1'}"), [PATH, "quote it"]),
    "~ as a variable": (ENV.format("{~: '1'}"), ["map key"]),
    "on as a resource": ("clusters: {demo: {worker: {daskResources: {on: 1}}}}", ["clusters.demo.worker.daskResources", "quote it"]),
    "no as a label": ("clusters: {demo: {labels: {no: a}}}", ["clusters.demo.labels", "quote it"]),
    "off as an annotation of a group": (
        "clusters: {demo: {workerGroups: {g: {annotations: {off: a}}}}}",
        ["clusters.demo.workerGroups.g.annotations", "quote it"],
    ),
    "n as a variable of a runner": ("jobs: {demo: {args: [x], env: {n: '1'}}}", ["jobs.demo.env", "quote it"]),
    "n as a variable of a job's worker": (
        "jobs: {demo: {args: [x], cluster: {worker: {env: {n: '1'}}}}}",
        ["jobs.demo.cluster.worker.env", "quote it"],
    ),
    "a version": (ENV.format("{VER: 1.10}"), [f"{PATH}.VER", "1.1", "quote it"]),
    "a long number": (ENV.format("{BIG: 12345678901234567890}"), [f"{PATH}.BIG", "quote it"]),
    "a number that YAML reads as the one before": (ENV.format("{BIG: 9007199254740993}"), [f"{PATH}.BIG", "quote it"]),
    "a negative one": (ENV.format("{BIG: -9007199254740993}"), [f"{PATH}.BIG", "quote it"]),
    "a commit": (ENV.format("{COMMIT: 1234e56}"), [f"{PATH}.COMMIT", "quote it"]),
    "a NUL in a variable": (ENV.format('{A: "a\\0b"}'), [f"{PATH}.A", "NUL"]),
    "a NUL in an annotation": ('clusters: {demo: {annotations: {note: "a\\0"}}}', ["clusters.demo.annotations.note", "NUL"]),
    "a label that is too long": (f"clusters: {{demo: {{labels: {{branch: {'a' * 64}}}}}}}", ["clusters.demo.labels.branch", "at most 63"]),
    "a label with a slash": ("jobs: {demo: {args: [x], labels: {branch: a/b}}}", ["jobs.demo.labels.branch", "a/b", "annotation"]),
    "a label in another language": ("defaults: {labels: {team: équipe}}\nclusters: {demo: {}}", ["labels.team", "a to z"]),
    "a key that is none": ("clusters: {demo: {labels: {'bad key!': x}}}", ["clusters.demo.labels", "bad key!", "is no key"]),
    "a key of a group that is none": (
        "clusters: {demo: {workerGroups: {g: {annotations: {'a/b/c': x}}}}}",
        ["clusters.demo.workerGroups.g.annotations", "a/b/c"],
    ),
    "a circle": (ENV.format("{A: $(B), B: $(C), C: x$(A)}"), [PATH, "A, B, C", "circle"]),
    "a circle of one": (ENV.format("{PATH: '$(PATH):/x'}"), [PATH, "PATH", "circle"]),
}  # fmt: skip


@pytest.mark.parametrize(("text", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_what_yaml_has_changed_is_refused(
    helm: Helm, values: Write, text: str, words: list[str]
) -> None:
    told = helm.refusal("--values", values(text))
    for word in words:
        assert any(choice in told for choice in word.split("|")), told


def env(one: One, text: str) -> dict[str, str]:
    spec = one(ENV.format(text), "DaskCluster")["spec"]["worker"]["spec"]
    return {v["name"]: v["value"] for v in spec["containers"][0]["env"]}


def test_quoted_words_are_themselves(one: One) -> None:
    assert env(one, "{'N': '1', 'ON': 'NO', VER: '1.10', BIG: '12345678901234567890'}") == {
        "BIG": "12345678901234567890",
        "N": "1",
        "ON": "NO",
        "VER": "1.10",
    }


def test_every_letter_is_itself(one: One) -> None:
    text = '{GREETING: "¡hola! 日本語\\tTab 📦", EMPTY: ""}'
    assert env(one, text) == {"EMPTY": "", "GREETING": "¡hola! 日本語\tTab 📦"}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("{A: $(B), B: '1'}", ["B", "A"]),
        ("{A: '$(B)/$(C)', B: $(D), C: '1', D: '1'}", ["D", "B", "C", "A"]),
        ("{A: '1', B: $(A)}", ["A", "B"]),
        ("{A: $$(B), B: '1'}", ["A", "B"]),
        ("{A: $$$(B), B: '1'}", ["B", "A"]),
        ("{A: $(ELSEWHERE), B: '1'}", ["A", "B"]),
        ("{A: $B, B: '1'}", ["A", "B"]),
    ],
)
def test_variables_stand_above_those_that_use_them(one: One, text: str, wanted: list[str]) -> None:
    assert list(env(one, text)) == wanted
