"""What people write where it does not belong is refused with a sentence that says what is meant, in every place where it may stand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from .conftest import ROOT, Helm

Write = Callable[[str], Path]

HINTS = yaml.safe_load((ROOT / "values.hints.yaml").read_text(encoding="utf-8"))
PLACES = {
    "chart": [()],
    "cluster": [("clusters", "demo"), ("defaults",), ("jobs", "demo", "cluster")],
    "scheduler": [("clusters", "demo", "scheduler"), ("defaults", "scheduler")],
    "worker": [("clusters", "demo", "worker"), ("jobs", "demo", "cluster", "worker")],
    "group": [("clusters", "demo", "workerGroups", "gpu"), ("jobs", "demo", "cluster", "workerGroups", "gpu")],
    "workers": [("defaults", "worker"), ("clusters", "demo", "workerGroups", "gpu")],
    "pod": [("clusters", "demo", "scheduler"), ("clusters", "demo", "worker"), ("clusters", "demo", "workerGroups", "gpu")],
    "job": [("jobs", "demo")],
    "image": [("clusters", "demo", "image"), ("jobs", "demo", "image"), ("clusters", "demo", "workerGroups", "gpu", "image")],
}  # fmt: skip


def within(path: tuple[str, ...], values: Any) -> Any:
    for key in reversed(path):
        values = {key: values}
    return values


def cases() -> Iterator[Any]:
    """Every key in one of its places, in turns."""
    for place, keys in HINTS.items():
        for number, (key, sentence) in enumerate(keys.items()):
            path = PLACES[place][number % len(PLACES[place])]
            yield pytest.param(path, key, sentence, id=".".join((*path, key)))


@pytest.mark.parametrize(("path", "key", "sentence"), cases())
def test_a_key_that_is_meant_otherwise(
    helm: Helm, values: Write, path: tuple[str, ...], key: str, sentence: str
) -> None:
    text = yaml.safe_dump(within(path, {key: ["x"], "enabled": False} if path[:1] == ("clusters",) and len(path) == 2 else {key: ["x"]}))  # fmt: skip
    told = helm.refusal("--values", values(text))
    where = ".".join(path) or "values"
    assert f"{where}: there is no key '{key}' here; {sentence}" in told, told


def test_every_place_of_every_kind(helm: Helm, values: Write) -> None:
    for place, paths in PLACES.items():
        key = next(iter(HINTS[place]))
        for path in paths:
            done = helm.template("--values", values(yaml.safe_dump(within(path, {key: 1}))), check=False)  # fmt: skip
            assert f"there is no key '{key}' here" in done.stderr, (path, done.stderr)


WORKER = "clusters: {{demo: {{worker: {}}}}}"
VALUES = {
    "a number in quotes": (WORKER.format("{replicas: '3'}"), ["clusters.demo.worker.replicas", "without quotes"]),
    "a number in quotes of a group": (
        "clusters: {demo: {workerGroups: {g: {replicas: '3'}}}}",
        ["clusters.demo.workerGroups.g.replicas", "without quotes"],
    ),
    "a tag without quotes": ("clusters: {demo: {image: {tag: 2026.8}}}", ["clusters.demo.image.tag", "2026.8", "quote it"]),
    "a tag without quotes in the defaults": ("defaults: {image: {tag: 20260101}}", ["defaults.image.tag", "quote it"]),
    "a tag without quotes of a job": ("jobs: {demo: {args: [x], image: {tag: 1.0}}}", ["jobs.demo.image.tag", "quote it"]),
    "gigabytes": (
        WORKER.format("{resources: {limits: {memory: 4GB}}}"),
        ["clusters.demo.worker.resources.limits.memory", "4GB is no quantity", "4G or 4Gi"],
    ),
    "gigabytes of a scheduler": (
        "defaults: {scheduler: {resources: {requests: {memory: 4 GiB}}}}",
        ["defaults.scheduler.resources.requests.memory", "4 GiB is no quantity"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("text", "words"), VALUES.values(), ids=VALUES.keys())
def test_a_value_that_is_nearly_one(helm: Helm, values: Write, text: str, words: list[str]) -> None:
    told = helm.refusal("--values", values(text))
    assert all(word in told for word in words), told
