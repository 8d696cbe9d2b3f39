"""Manifests of the existing operator's users, applied unchanged to the real API server and served."""

from __future__ import annotations

import json
from typing import Any

import pytest
from dask_gitops.resources.observed import CustomResource
from dask_gitops.resources.revision import canonical, without_nulls

from tests.manifests import CLUSTERS, HERE, NAMES, expected, manifests
from tests.support.fake_scheduler import FakeSchedulers
from tests.support.kubernetes import JSON, Kubectl, condition, eventually

pytestmark = pytest.mark.usefixtures("controller")

# Lists that the controller or the API server goes on after what the manifest means: the control API's variables, the
# volume with the account's token.
OPEN = ("env", "volumes", "volumeMounts")


def differences(want: Any, have: Any, path: str = "") -> list[str]:
    """Where ``have`` lacks something of ``want``; fields that the API server fills in, or leaves out as zero, are none."""
    if isinstance(want, dict) and isinstance(have, dict):
        return [d for k, v in want.items() for d in differences(v, have.get(k), f"{path}.{k}")]
    if isinstance(want, list) and isinstance(have, list):
        field = path.rpartition(".")[2]
        if len(have) < len(want) or (field not in OPEN and len(have) > len(want)):
            return [f"{path}: {len(have)} instead of {len(want)} items"]
        pairs = zip(want, have, strict=False)
        return [d for n, (w, h) in enumerate(pairs) for d in differences(w, h, f"{path}[{n}]")]
    return (
        []
        if want == have or (not want and have is None)
        else [f"{path}: {have!r} instead of {want!r}"]
    )


def test_a_difference_is_found() -> None:
    want = {"a": {"b": [{"c": 1}], "env": [1]}}
    assert differences(want, {"a": {"b": [{"c": 1, "d": 2}], "env": [1, 2]}, "e": 1}) == []
    assert differences(want, {"a": {"b": [{"c": 2}, {}], "env": []}}) == [
        ".a.b: 2 instead of 1 items",
        ".a.env: 0 instead of 1 items",
    ]
    assert differences(want, {"a": {"b": [{}], "env": [2]}}) == [
        ".a.b[0].c: None instead of 1",
        ".a.env[0]: 2 instead of 1",
    ]


def node_ports_are_free(kubectl: Kubectl, name: str) -> None:
    """A test before this one may have used them, and its namespace is on its way out."""

    def ports(specs: list[JSON]) -> set[int]:
        return {p["nodePort"] for s in specs for p in s.get("ports", ()) if "nodePort" in p}

    schedulers = [manifest["spec"].get("scheduler") or {} for manifest in manifests(name)]
    wanted = ports([scheduler.get("service") or {} for scheduler in schedulers])

    def look() -> bool:
        there = json.loads(kubectl("get", "services", "-A", "-o", "json"))["items"]
        return not wanted & ports([service["spec"] for service in there])

    eventually("its node ports are free", look, timeout=180)


@pytest.mark.parametrize("name", NAMES)
def test_it_applies_unchanged_and_nothing_is_lost(kubectl: Kubectl, name: str) -> None:
    node_ports_are_free(kubectl, name)
    written = manifests(name)
    path = str(HERE / f"{name}.yaml")
    assert kubectl("apply", "-f", path).count("created") == len(written)
    # Where the definition says integer, a server-side apply of null is refused, in every definition without a default.
    server_side = {"python-default": []}.get(name, [("--server-side", "--force-conflicts")])
    for words in [(), *server_side]:
        said = kubectl("apply", *words, "-f", path)
        assert "Warning" not in said
        for manifest in written:
            stored = kubectl.get(manifest["kind"], manifest["metadata"]["name"])
            assert without_nulls(stored["spec"]) == without_nulls(manifest["spec"])
            assert stored["metadata"]["generation"] == 1, "the same again is no change"
            for field in ("labels", "annotations"):
                have, want = (m["metadata"].get(field, {}) for m in (stored, manifest))
                assert have.items() >= want.items()


@pytest.mark.parametrize("name", CLUSTERS)
def test_what_comes_of_it(kubectl: Kubectl, name: str) -> None:
    node_ports_are_free(kubectl, name)
    kubectl("apply", "-f", str(HERE / f"{name}.yaml"))
    (of,) = [CustomResource.of(c) for c in kubectl.list("daskclusters")]
    declared = {m["metadata"]["name"] for m in manifests(name) if m["kind"] == "DaskWorkerGroup"}
    default = f"{of.meta.name}-default"

    def groups() -> list[CustomResource]:
        found = [CustomResource.of(g) for g in kubectl.list("daskworkergroups")]
        assert {g.meta.name for g in found} == declared | {default}
        return found

    found = eventually("all groups", groups)
    none = {g.meta.name for g in found if g.spec["worker"].get("replicas") == 0}
    want = expected(name, of, found, control_api=[], hand_over=[])
    want = {k: m for k, m in want.items() if m["metadata"]["labels"].get(LABEL) not in none}
    assert len(want) == 4 + len(declared) - len(none)

    def look() -> bool:
        lacking = []
        for manifest in want.values():
            have = kubectl.get(manifest["kind"], manifest["metadata"]["name"])
            if manifest["kind"] == "DaskWorkerGroup":
                have = without_nulls(have)
                manifest = without_nulls(manifest)
            else:
                manifest, have = canonical(manifest), canonical(have)
            lacking += [f"{manifest['kind']} {d}" for d in differences(manifest, have)]
        assert not lacking, "\n".join(lacking)
        return True

    eventually(f"the objects of {name}", look)
    created = {f"{m['kind']} {m['metadata']['name']}" for m in created_in(kubectl)}
    assert created >= set(want)
    assert not [c for c in created if c.split("-worker-")[0].removeprefix("Pod ") in none]


LABEL = "dask.org/workergroup-name"


def created_in(kubectl: Kubectl) -> list[JSON]:
    return [*kubectl.list("pods"), *kubectl.list("services"), *kubectl.list("daskworkergroups")]


def test_the_documented_autoscaler_follows_the_demand(
    kubectl: Kubectl, schedulers: FakeSchedulers
) -> None:
    (declared,) = manifests("autoscaler")
    schedulers.work[kubectl.namespace] = {(): 4}
    kubectl("apply", "-f", str(HERE / "documented.yaml"), "-f", str(HERE / "autoscaler.yaml"))
    eventually(
        "it steers",
        lambda: condition(kubectl.get("daskautoscaler", "documented"), "Ready")["status"] == "True",
    )

    def workers() -> bool:
        selector = "dask.org/workergroup-name=documented-default"
        return len(kubectl.list("pods", selector)) == 4

    eventually("4 workers for 4 tasks", workers)
    assert kubectl.get("daskautoscaler", "documented")["spec"] == declared["spec"]
