"""Autoscalers, idle and suspend as values: what is rendered, and which contradictions are refused with a sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import Helm, Manifest

One = Callable[..., Manifest]
Write = Callable[[str], Path]


def kinds(helm: Helm, path: Path) -> set[tuple[str, str]]:
    return {
        (m["kind"], m["metadata"]["name"])
        for m in helm.render("--values", path)
        if m["kind"].startswith("Dask")
    }


# ---- autoscalers


@pytest.mark.parametrize(
    "replicas", ["", "worker: {replicas: external}", "worker: {replicas: null}"]
)
@pytest.mark.parametrize("defaults", ["{}", "{worker: {replicas: 5}}"])
def test_an_autoscaler_is_an_object_and_replicas_are_left_out(
    one: One, defaults: str, replicas: str
) -> None:
    """Also the replicas that come from the defaults, which are about clusters without one."""
    rest = f", {replicas}" if replicas else ""
    text = f"{{defaults: {defaults}, clusters: {{demo: {{autoscaler: {{minimum: 0, maximum: 20}}{rest}}}}}}}"
    assert one(text, "DaskCluster")["spec"] == {}
    found = one(text, "DaskAutoscaler")
    assert found["metadata"]["name"] == "demo"
    assert found["spec"] == {"cluster": "demo", "minimum": 0, "maximum": 20}


def test_the_autoscaler_of_a_group(one: One) -> None:
    text = """
    defaults: {worker: {replicas: 5}, labels: {team: a}}
    clusters:
      demo:
        worker: {replicas: 2}
        workerGroups:
          gpu:
            labels: {kind: gpu}
            daskResources: {GPU: 1}
            autoscaler:
              {minimum: 0, maximum: 4, interval: 10, scaleUp: {maxPercent: 300}, scaleDown: {stabilizationSeconds: 60}}
    """
    found = one(text, "DaskAutoscaler")
    assert found["metadata"]["name"] == "demo-gpu"
    assert (found["metadata"]["labels"]["team"], found["metadata"]["labels"]["kind"]) == (
        "a",
        "gpu",
    )
    assert found["metadata"]["annotations"] == {"argocd.argoproj.io/sync-wave": "1"}
    assert found["spec"] == {
        "cluster": "demo",
        "workerGroup": "demo-gpu",
        "minimum": 0,
        "maximum": 4,
        "interval": 10,
        "scaleUp": {"maxPercent": 300},
        "scaleDown": {"stabilizationSeconds": 60},
    }
    group = one(text, "DaskWorkerGroup")
    assert group["spec"] == {"cluster": "demo", "worker": {"resources": {"GPU": 1}}}
    assert one(text, "DaskCluster")["spec"] == {"worker": {"replicas": 2}}


def test_an_autoscaler_of_the_defaults_and_clusters_without(helm: Helm, values: Write) -> None:
    path = values("""
    defaults: {autoscaler: {minimum: 1, maximum: 9, scaleUp: {maxPercent: 50}}}
    clusters:
      a: {}
      b: {autoscaler: {maximum: 3}}
      c: {autoscaler: {enabled: false}, worker: {replicas: 7}}
      d: {autoscaler: null, worker: {replicas: 8}}
      e: {enabled: false}
    """)
    manifests = [m for m in helm.render("--values", path) if m["kind"].startswith("Dask")]
    scalers = {m["metadata"]["name"]: m["spec"] for m in manifests if m["kind"] == "DaskAutoscaler"}
    assert {name: (s["minimum"], s["maximum"]) for name, s in scalers.items()} == {
        "a": (1, 9),
        "b": (1, 3),
    }
    assert scalers["b"]["scaleUp"] == {"maxPercent": 50}
    numbers = {
        m["metadata"]["name"]: m["spec"].get("worker", {}).get("replicas")
        for m in manifests
        if m["kind"] == "DaskCluster"
    }
    assert numbers == {"a": None, "b": None, "c": 7, "d": 8}


def test_no_number_is_ever_rendered_beside_an_autoscaler(helm: Helm) -> None:
    """In none of the values files of the repository."""
    from .conftest import examples

    scaled = 0
    for example in examples():
        manifests = helm.render("--values", example)
        numbers: dict[str, Any] = {}
        for m in manifests:
            if m["kind"] in ("DaskCluster", "DaskWorkerGroup"):
                name = m["metadata"]["name"]
                group = f"{name}-default" if m["kind"] == "DaskCluster" else name
                numbers[group] = m["spec"].get("worker", {}).get("replicas")
        for m in manifests:
            if m["kind"] == "DaskAutoscaler":
                scaled += 1
                group = m["spec"].get("workerGroup", f"{m['spec']['cluster']}-default")
                assert numbers[group] is None
    assert scaled >= 4


# ---- idle, suspend


@pytest.mark.parametrize(
    ("values_of_cluster", "spec"),
    [
        ("idle: {timeout: 1800}", {"idleTimeout": 1800}),
        (
            "idle: {timeout: 1000000, action: Scale}",
            {"idleTimeout": 1000000, "idleAction": "Scale"},
        ),
        ("idle: {timeout: 60, action: Delete}", {"idleTimeout": 60, "idleAction": "Delete"}),
        ("idle: {timeout: 0}", {"idleTimeout": 0}),
        ("idle: {}", {}),
        ("suspend: true", {"suspend": True}),
        ("suspend: false", {"suspend": False}),
        ("suspend: null", {}),
    ],
)
def test_idle_and_suspend(one: One, values_of_cluster: str, spec: dict[str, Any]) -> None:
    assert one(f"clusters: {{demo: {{{values_of_cluster}}}}}", "DaskCluster")["spec"] == spec


def test_a_cluster_takes_the_timeout_of_the_defaults_away(one: One) -> None:
    text = """
    defaults: {idle: {timeout: 600, action: Scale}, suspend: true}
    clusters: {a: {}, b: {idle: {timeout: 0}}, c: {idle: null, suspend: false}, d: {idle: {action: Delete}}}
    """
    rests = {"idleTimeout": 600, "idleAction": "Scale", "suspend": True}
    assert one(text, "DaskCluster", "a")["spec"] == rests
    assert one(text, "DaskCluster", "b")["spec"] == {"idleTimeout": 0, "suspend": True}
    assert one(text, "DaskCluster", "c")["spec"] == {"suspend": False}
    assert one(text, "DaskCluster", "d")["spec"] == {**rests, "idleAction": "Delete"}


# ---- contradictions

CASES = {
    "two who have the number": (
        "clusters: {demo: {autoscaler: {minimum: 1, maximum: 2}, worker: {replicas: 3}}}",
        ["clusters.demo.worker.replicas and clusters.demo.autoscaler", "take one of the two away"],
    ),
    "no number is a number, too": (
        "clusters: {demo: {autoscaler: {minimum: 1, maximum: 2}, worker: {replicas: 0}}}",
        ["clusters.demo.worker.replicas and clusters.demo.autoscaler"],
    ),
    "two who have the number of a group": (
        "clusters: {demo: {workerGroups: {g: {autoscaler: {minimum: 1, maximum: 2}, replicas: 3}}}}",
        ["clusters.demo.workerGroups.g.replicas and clusters.demo.workerGroups.g.autoscaler"],
    ),
    "a number of its own under an autoscaler of the defaults": (
        "{defaults: {autoscaler: {minimum: 1, maximum: 2}}, clusters: {demo: {worker: {replicas: 3}}}}",
        ["clusters.demo.worker.replicas and defaults.autoscaler"],
    ),
    "both in the defaults": (
        "{defaults: {autoscaler: {minimum: 1, maximum: 2}, worker: {replicas: 3}}, clusters: {demo: {}}}",
        ["defaults.worker.replicas and defaults.autoscaler"],
    ),
    "minimum above maximum": (
        "clusters: {demo: {autoscaler: {minimum: 3, maximum: 2}}}",
        ["clusters.demo.autoscaler: minimum (3) is greater than maximum (2)"],
    ),
    "minimum above the maximum of the defaults": (
        "{defaults: {autoscaler: {minimum: 0, maximum: 5}}, clusters: {demo: {autoscaler: {minimum: 10}}}}",
        ["clusters.demo.autoscaler: minimum (10) is greater than maximum (5)"],
    ),
    "minimum above maximum in a group": (
        "clusters: {demo: {workerGroups: {g: {autoscaler: {minimum: 3, maximum: 2}}}}}",
        ["clusters.demo.workerGroups.g.autoscaler: minimum (3)"],
    ),
    "no maximum": (
        "clusters: {demo: {autoscaler: {minimum: 3}}}",
        ["clusters.demo.autoscaler: maximum is missing"],
    ),
    "no minimum": (
        "clusters: {demo: {autoscaler: {minimum: null, maximum: 3}}}",
        ["clusters.demo.autoscaler: minimum is missing"],
    ),
    "an action without a timeout": (
        "clusters: {demo: {idle: {action: Scale}}}",
        ["clusters.demo.idle.action is Scale", "no idle.timeout"],
    ),
    "an action of the defaults without any timeout": (
        "{defaults: {idle: {action: Delete}}, clusters: {demo: {}}}",
        ["clusters.demo.idle.action is Delete", "no idle.timeout"],
    ),
    "two autoscalers of one name": (
        """
        clusters:
          a: {workerGroups: {b: {autoscaler: {minimum: 1, maximum: 2}}}}
          a-b: {autoscaler: {minimum: 1, maximum: 2}}
        """,
        [
            "clusters.a.workerGroups.b.autoscaler and clusters.a-b.autoscaler",
            'both mean the autoscaler "a-b"',
        ],
    ),
    "typo in an autoscaler": (
        "clusters: {demo: {autoscaler: {minimum: 1, maximum: 2, min: 1}}}",
        ["demo", "autoscaler", "'min'|property min "],
    ),
    "typo in a step": (
        "clusters: {demo: {workerGroups: {g: {autoscaler: {scaleUp: {percent: 5}}}}}}",
        ["g", "autoscaler", "scaleUp", "percent"],
    ),
    "no step at all": (
        "clusters: {demo: {autoscaler: {minimum: 0, maximum: 2, scaleDown: {maxPercent: 0}}}}",
        ["demo", "autoscaler", "scaleDown", "maxPercent"],
    ),
    "negative minimum": (
        "clusters: {demo: {autoscaler: {minimum: -1, maximum: 2}}}",
        ["demo", "autoscaler", "minimum"],
    ),
    "an autoscaler in the workers": (
        "clusters: {demo: {worker: {autoscaler: {minimum: 1, maximum: 2}}}}",
        ["demo", "worker", "autoscaler"],
    ),
    "typo in idle": ("clusters: {demo: {idle: {timout: 5}}}", ["demo", "idle", "timout"]),
    "an action that is none": (
        "clusters: {demo: {idle: {timeout: 5, action: Park}}}",
        ["demo", "idle", "action", "Scale"],
    ),
    "a timeout in words": ("clusters: {demo: {idle: {timeout: 30m}}}", ["demo", "idle", "timeout"]),
    "negative timeout": ("clusters: {demo: {idle: {timeout: -1}}}", ["demo", "idle", "timeout"]),
    "suspend in words": ("clusters: {demo: {suspend: 'yes'}}", ["demo", "suspend"]),
    "suspend of a group": (
        "clusters: {demo: {workerGroups: {g: {suspend: true}}}}",
        ["g", "suspend"],
    ),
    "resources of Dask in words": (
        "clusters: {demo: {worker: {daskResources: {GPU: one}}}}",
        ["demo", "worker", "daskResources", "GPU"],
    ),
}


@pytest.mark.parametrize(("text", "words"), CASES.values(), ids=CASES.keys())
def test_refused(helm: Helm, values: Write, text: str, words: list[str]) -> None:
    told = helm.refusal("--values", values(text))
    for word in words:
        assert any(choice in told for choice in word.split("|")), f"{word!r} is not in: {told}"
