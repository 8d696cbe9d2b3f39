"""Any JSON in any place of a user's Pod spec: the object ends in Ready, Reconciling or Stalled, at rest, without a traceback.

The examples follow from a seed, which is printed: `SHAPES_SEED=<it>` draws them again.
"""

from __future__ import annotations

import os
import random
from typing import Any

import pytest
from dask_gitops.kube.resource import (
    DASKAUTOSCALERS,
    DASKCLUSTERS,
    DASKJOBS,
    DASKWORKERGROUPS,
    Resource,
)
from dask_gitops.resources import labels
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.support.harness import NS, Harness, play

JSON = dict[str, Any]
SEED = int(os.environ.get("SHAPES_SEED", 20_301))
EXAMPLES, SOAK_EXAMPLES = 250, 3_000
REST_S = 700.0  # longer than every deadline and back-off that is at work here

WORDS = st.sampled_from(
    ["", "worker", "scheduler", "job", "dask", "dask-worker", "dask-scheduler", "--", "--port", "--nthreads", "bash", "-c",
     "$(DASK_WORKER_NAME)", "NoExecute", "1Gi", "500m", "8786", "true", "--preload", "exec dask-worker 'x", "\n" * 50, "é\x00"]
)  # fmt: skip
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | WORDS
    | st.text(max_size=8)
)
#: Names of fields that somebody reads, so that a drawn object is often nearly right.
KEYS = st.sampled_from(
    ["containers", "initContainers", "name", "image", "command", "args", "env", "value", "valueFrom", "ports", "containerPort",
     "resources", "limits", "requests", "cpu", "memory", "volumeMounts", "mountPath", "volumes", "tolerations", "key", "effect",
     "securityContext", "readOnlyRootFilesystem", "nodeName", "hostNetwork", "affinity", "nodeAffinity", "schedulingGates",
     "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms", "restartPolicy", "terminationGracePeriodSeconds",
     "enableServiceLinks", "readinessProbe", "startupProbe", "livenessProbe", "emptyDir"]
) | st.text(max_size=5)  # fmt: skip
ANY = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4)
)

#: A Pod spec in which all is said that somebody reads; one place of it is drawn.
RIGHT: JSON = {
    "containers": [
        {
            "name": "main",
            "image": "dask:1",
            "command": ["tini", "--"],
            "args": ["dask", "worker", "--nthreads", "2"],
            "env": [{"name": "A", "value": "1"}, {"name": "B", "valueFrom": {"fieldRef": {}}}],
            "ports": [{"name": "x", "containerPort": 80}],
            "resources": {"limits": {"cpu": "1"}, "requests": {"cpu": 1}},
            "volumeMounts": [{"name": "v", "mountPath": "/tmp"}],
            "securityContext": {"readOnlyRootFilesystem": True},
            "readinessProbe": {"exec": {"command": ["true"]}},
        },
        {"name": "second", "image": "logs"},
    ],
    "initContainers": [{"name": "init", "image": "x", "command": ["true"]}],
    "tolerations": [{"key": "k", "operator": "Exists", "effect": "NoExecute"}],
    "volumes": [{"name": "v", "emptyDir": {}}],
    "schedulingGates": [{"name": "example.com/gate"}],
    "nodeSelector": {"a": "b"},
    "nodeName": "n1",
    "hostNetwork": True,
    "restartPolicy": "Always",
    "terminationGracePeriodSeconds": 30,
    "resources": {"limits": {"cpu": "4"}},
    "affinity": {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "Exists"}]}]
            }
        }
    },
}


def paths(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in it, the whole one first."""
    inner: Any = value.items() if isinstance(value, dict) else ()
    inner = enumerate(value) if isinstance(value, list) else inner
    return [at, *(path for key, each in inner for path in paths(each, (*at, key)))]


def put(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """The value with another one at that place."""
    if not path:
        return new
    key, *rest = path
    out = dict(value) if isinstance(value, dict) else list(value)
    out[key] = put(value[key], tuple(rest), new)
    return out


SPECS = st.builds(lambda path, new: put(RIGHT, path, new), st.sampled_from(paths(RIGHT)), ANY) | ANY

#: Where in which kind the spec stands: what is made, and which object is looked at.
PLACES: dict[str, tuple[Resource, str]] = {
    "scheduler": (DASKCLUSTERS, "demo"),
    "worker": (DASKCLUSTERS, "demo"),
    "inline group": (DASKCLUSTERS, "demo"),
    "group": (DASKWORKERGROUPS, "more"),
    "job": (DASKJOBS, "nightly"),
    "job's scheduler": (DASKJOBS, "nightly"),
    "job's worker": (DASKJOBS, "nightly"),
    "service": (DASKCLUSTERS, "demo"),
    "autoscaler": (DASKAUTOSCALERS, "demo"),
}


def spec_of(place: str, drawn: Any) -> JSON:
    """The part of a spec that holds what is drawn."""
    match place:
        case "scheduler":
            return {"scheduler": {"spec": drawn}}
        case "service":
            return {"scheduler": {"service": drawn}}
        case "worker":
            return {"worker": {"replicas": 2, "spec": drawn}}
        case "inline group":
            return {"workerGroups": [{"name": "gpu", "worker": {"replicas": 1, "spec": drawn}}]}
        case "group":
            return {"worker": {"replicas": 1, "spec": drawn}}
        case "job":
            return {"job": {"spec": drawn}}
        case "job's scheduler":
            return {"cluster": {"spec": {"scheduler": {"spec": drawn}}}}
        case "job's worker":
            return {"cluster": {"spec": {"worker": {"spec": drawn}}}}
    return {"minimum": drawn, "scaleDown": {"maxPercent": drawn}}


def draw_into(h: Harness, place: str, drawn: Any, *, live: bool) -> None:
    """A right object, or one that is drawn at once."""
    h.cluster(worker={"replicas": 2})
    spec = {} if live else spec_of(place, drawn)
    if place == "group":
        h.group("more", **(spec or {"worker": {"replicas": 1}}))
    elif place == "autoscaler":
        h.autoscaler(1, 3)
        if not live:
            h.edit(DASKAUTOSCALERS, "demo", spec)
    elif place.startswith("job"):
        h.job(**spec)
    elif not live:
        h.edit(DASKCLUSTERS, "demo", spec)


def verdict(h: Harness, res: Resource, name: str) -> str:
    """The one of the three conditions that speaks, for the present generation."""
    found = h.find(res, name)
    status = found["status"]
    assert status["observedGeneration"] == found["metadata"]["generation"], status
    true = {c["type"] for c in status["conditions"] if c["status"] == "True"}
    said = true & {"Ready", "Reconciling", "Stalled"}
    assert len(said) == 1, status
    assert "InternalError" not in true, status
    return said.pop()


def story(place: str, drawn: Any, live: bool) -> str:
    res, name = PLACES[place]
    out = []

    async def main(h: Harness) -> None:
        h.judge.allow("failed", "the spec is drawn")
        h.judge.see = lambda *_, **__: None  # type: ignore[method-assign]  # it knows what is declared by reading it
        h.judge.end = lambda *_: None  # type: ignore[method-assign]
        h.judge.violations.clear()
        draw_into(h, place, drawn, live=live)
        h.start()
        if live:
            await h.pass_time(20)
            h.edit(res, name, spec_of(place, drawn))
        await h.pass_time(REST_S / 2)
        assert not h.bugs, h.bugs
        out.append(verdict(h, res, name))
        before, asked = h.api.version, len(h.api.writes())
        await h.pass_time(REST_S / 2)
        assert (h.api.version, len(h.api.writes())) == (before, asked), "it is not at rest"
        # Without a hand, it is still possible to end it.
        h.api.remove(res, NS, name)
        await h.pass_time(60)
        if res == DASKCLUSTERS:
            assert not h.api.names(DASKWORKERGROUPS, NS)
        if res == DASKJOBS:
            assert not h.api.find(DASKCLUSTERS, NS, name)
        assert not h.bugs, h.bugs

    play(main)
    return out[0]


def check(examples: int, number: int) -> None:
    print(f"SHAPES_SEED={number}")
    seen: set[str] = set()

    @seed(number)
    @settings(
        max_examples=examples,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )
    @given(place=st.sampled_from(sorted(PLACES)), drawn=SPECS, live=st.booleans())
    def holds(place: str, drawn: Any, live: bool) -> None:
        seen.add(story(place, drawn, live))

    holds()
    assert {"Ready", "Stalled"} <= seen, "nothing was drawn that says anything"


def test_any_shape_ends_at_rest_and_says_so() -> None:
    check(EXAMPLES, SEED)


@pytest.mark.soak
def test_any_shape_at_full_size() -> None:
    check(SOAK_EXAMPLES, random.randrange(10**6) if "SHAPES_SEED" not in os.environ else SEED)


def test_the_right_spec_is_right() -> None:
    """Else every drawn place would be beside a wrong one."""
    assert story("worker", RIGHT, live=False) in ("Ready", "Reconciling")
    assert labels.GROUP  # the world is the usual one
