"""The values that steer roll-outs become fields of the custom resources as they were meant."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from .conftest import ROOT, Helm, Manifest, definitions

One = Callable[..., Manifest]


@pytest.mark.parametrize(
    "written",
    [
        "2026-01-31T12:00:00Z",
        "2026-01-31T12:00:00.5+01:00",
        "2026-01-31T12:00:00.123456789-23:59",
    ],
)
@pytest.mark.parametrize("quote", ["", '"'])
def test_a_time_stays_the_text_that_was_written(one: One, written: str, quote: str) -> None:
    """YAML has a type for times, the custom resource a string."""
    text = f"{{defaults: {{restartedAt: {quote}{written}{quote}}}, clusters: {{demo: {{}}}}}}"
    assert one(text, "DaskCluster")["spec"] == {"restartedAt": written}


def test_a_time_on_the_command_line(helm: Helm) -> None:
    for flag in ("--set", "--set-string"):
        rendered = helm.render(flag, "clusters.demo.restartedAt=2026-01-31T12:00:00Z")
        (cluster,) = [m for m in rendered if m["kind"] == "DaskCluster"]
        assert cluster["spec"] == {"restartedAt": "2026-01-31T12:00:00Z"}


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        ("0", 0),
        ("3", 3),
        ("1000000", 1000000),
        ("25%", "25%"),
        ('"25%"', "25%"),
        ("0%", "0%"),
        ("150%", "150%"),
    ],
)
def test_numbers_stay_numbers_and_percentages_strings(
    one: One, written: str, wanted: int | str
) -> None:
    strategy = f"{{updateStrategy: {{maxUnavailable: {written}, maxSurge: 1}}}}"
    text = f"clusters: {{demo: {{updateStrategy: {{maxUnavailable: {written}, maxSurge: 1}}, workerGroups: {{g: {strategy}}}}}}}"
    for kind in ("DaskCluster", "DaskWorkerGroup"):
        found = one(text, kind)["spec"]["updateStrategy"]
        assert found == {"maxUnavailable": wanted, "maxSurge": 1}
        assert type(found["maxUnavailable"]) is type(wanted)


@pytest.mark.parametrize(
    "fields",
    [
        {"updateStrategy": {"scheduler": "Immediate"}},
        {"updateStrategy": {"scheduler": "WhenIdle", "schedulerDeadlineSeconds": 0}},
        {"updateStrategy": {"scheduler": "OnDelete"}, "progressDeadlineSeconds": 100000000},
        {"whenUnreachable": "Hold", "drainTimeout": 0},
        {"whenUnreachable": "Drain"},
    ],
)
def test_fields_are_handed_on(one: One, fields: dict[str, Any]) -> None:
    """What is written is what is rendered."""
    text = f"clusters: {{demo: {fields}}}"
    assert one(text, "DaskCluster")["spec"] == fields


MERGE = """
defaults:
  restartedAt: 2026-01-31T12:00:00Z
  progressDeadlineSeconds: 60
  whenUnreachable: Drain
  updateStrategy: {maxUnavailable: 10%, maxSurge: 0, scheduler: OnDelete, schedulerDeadlineSeconds: 5}
clusters:
  same: {}
  own: {updateStrategy: {maxUnavailable: 2, scheduler: WhenIdle}, restartedAt: 2027-01-31T12:00:00Z}
  nulls: {updateStrategy: null, restartedAt: null, progressDeadlineSeconds: null, whenUnreachable: null}
  inner: {updateStrategy: {maxUnavailable: null, maxSurge: null, schedulerDeadlineSeconds: null}}
  empty: {updateStrategy: {maxUnavailable: null, maxSurge: null, scheduler: null, schedulerDeadlineSeconds: null}}
  group: {workerGroups: {g: {}, h: {updateStrategy: {}}}}
"""


def test_a_cluster_lies_over_the_defaults_key_by_key(one: One) -> None:
    strategy = {
        "maxUnavailable": "10%",
        "maxSurge": 0,
        "scheduler": "OnDelete",
        "schedulerDeadlineSeconds": 5,
    }
    rest = {
        "restartedAt": "2026-01-31T12:00:00Z",
        "progressDeadlineSeconds": 60,
        "whenUnreachable": "Drain",
    }
    assert one(MERGE, "DaskCluster", "same")["spec"] == {**rest, "updateStrategy": strategy}
    assert one(MERGE, "DaskCluster", "own")["spec"] == {
        **rest,
        "restartedAt": "2027-01-31T12:00:00Z",
        "updateStrategy": {**strategy, "maxUnavailable": 2, "scheduler": "WhenIdle"},
    }
    assert one(MERGE, "DaskCluster", "nulls")["spec"] == {}
    assert one(MERGE, "DaskCluster", "inner")["spec"] == {
        **rest,
        "updateStrategy": {"scheduler": "OnDelete"},
    }
    assert one(MERGE, "DaskCluster", "empty")["spec"] == rest


def test_a_group_says_only_what_is_its_own(one: One) -> None:
    """What it does not say, the controller takes from the cluster."""
    for name in ("group-g", "group-h"):
        assert one(MERGE, "DaskWorkerGroup", name)["spec"] == {"cluster": "group"}


def test_a_group_takes_the_other_share_from_its_cluster(one: One) -> None:
    """`maxSurge: 0` is no dead end where the cluster lets a worker be missing."""
    text = "clusters: {demo: {updateStrategy: {maxUnavailable: 1}, workerGroups: {g: {updateStrategy: {maxSurge: 0}}}}}"
    assert one(text, "DaskWorkerGroup")["spec"]["updateStrategy"] == {"maxSurge": 0}


def test_values_and_definitions_know_the_same_fields() -> None:
    values = json.loads((ROOT / "values.schema.json").read_text(encoding="utf-8"))["definitions"]
    for part, kind in (("cluster", "DaskCluster"), ("group", "DaskWorkerGroup")):
        version = definitions()[kind]["spec"]["versions"][0]
        fields = version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
        ours, theirs = (s["updateStrategy"] for s in (values[part]["properties"], fields))
        assert set(ours["properties"]) == set(theirs["properties"])
        for name in {"whenUnreachable", "progressDeadlineSeconds", "restartedAt"} & set(fields):
            same(values[part]["properties"][name], fields[name])
        for name, field in theirs["properties"].items():
            same(ours["properties"][name], field)


def same(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Do a value and a field of a custom resource take the same? `null` aside."""
    assert [word for word in ours.get("enum", []) if word] == theirs.get("enum", [])
    kinds = ["integer", "string"] if "x-kubernetes-int-or-string" in theirs else [theirs["type"]]
    assert [kind for kind in ours["type"] if kind != "null"] == kinds
    if "x-kubernetes-int-or-string" not in theirs:
        assert ours.get("minimum") == theirs.get("minimum")
