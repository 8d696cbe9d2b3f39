"""Several namespaces in one process: what one of them lacks is its own trouble."""

from __future__ import annotations

from typing import Any

import pytest
from dask_gitops.kube.errors import ApiError
from dask_gitops.kube.resource import DASKCLUSTERS, DASKJOBS, EVENTS, PODS, SERVICES, Resource

from tests.support.harness import NS, Harness, play

FORBIDDEN = ApiError(403, "Forbidden", 'pods is forbidden in the namespace "gone"')


def cluster(namespace: str) -> dict[str, Any]:
    container = {"name": "c", "image": "dask:1"}
    return {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskCluster",
        "metadata": {"name": "demo", "namespace": namespace},
        "spec": {
            "worker": {"replicas": 2, "spec": {"containers": [container]}},
            "scheduler": {"spec": {"containers": [container]}, "service": {}},
        },
    }


def pods(h: Harness, namespace: str) -> list[str]:
    return [p["metadata"]["name"] for p in h.api._objects(PODS, namespace)]


@pytest.mark.parametrize(
    "error",
    [FORBIDDEN, ApiError(404, "", "404 page not found"), ApiError(500), "timeout"],
    ids=["403", "404", "500", "timeout"],
)
@pytest.mark.parametrize("lacking", [None, PODS, SERVICES, DASKCLUSTERS, DASKJOBS], ids=str)
def test_one_namespace_without_its_role_keeps_no_other_waiting(
    lacking: Resource | None, error: Any
) -> None:
    """Of all kinds or of one only. It is served when the Role is back; until then nothing is made in it."""

    async def main(h: Harness) -> None:
        fault = h.api.fault(
            times=None, resource=lacking, error=error, where=lambda r: r.namespace == "gone"
        )
        h.api.put(DASKCLUSTERS, cluster("gone"))
        h.cluster("demo", worker={"replicas": 2})
        h.start()
        await h.pass_time(180)
        assert len(h.workers()) == 2
        assert h.condition(DASKCLUSTERS, "demo", "Ready")[0] == "True"
        assert pods(h, "gone") == []
        assert [r for r in h.api.writes() if r.namespace == "gone"] == []
        assert h.serving.ready()
        assert h.serving.missing(NS) == ""
        assert str(lacking or DASKCLUSTERS) in h.serving.missing("gone")
        # It changes meanwhile.
        h.edit(DASKCLUSTERS, "demo", {"worker": {"replicas": 3}})
        await h.pass_time(60)
        assert len(h.workers()) == 3
        fault.cancel()
        await h.pass_time(60)
        assert h.serving.missing("gone") == ""
        assert len(pods(h, "gone")) == len(set(pods(h, "gone"))) == 3
        assert {e["type"] for e in h.api.items(EVENTS)} == {"Normal"}

    play(main, lambda: Harness(namespaces=("gone", NS)))


def test_a_namespace_loses_its_role_while_it_is_served() -> None:
    async def main(h: Harness) -> None:
        h.cluster("demo", worker={"replicas": 2})
        h.start()
        await h.settle()
        assert h.serving.missing("gone") == h.serving.missing(NS) == ""
        fault = h.api.fault(times=None, error=FORBIDDEN, where=lambda r: r.namespace == "gone")
        h.api.break_watches()
        await h.pass_time(60)
        assert "403" in h.serving.missing("gone")
        assert h.serving.missing(NS) == ""
        fault.cancel()
        h.api.put(DASKCLUSTERS, cluster("gone"))
        await h.pass_time(120)
        assert h.serving.missing("gone") == ""
        assert len(pods(h, "gone")) == 3

    play(main, lambda: Harness(namespaces=("gone", NS)))


def test_nothing_is_done_in_a_namespace_of_which_only_a_part_is_known() -> None:
    """Pods are listed a minute after all else: none is made anew."""

    async def main(h: Harness) -> None:
        h.cluster("demo", worker={"replicas": 2})
        h.start()
        await h.settle()
        before = len(h.created())
        h.kill()
        fault = h.api.fault("list", PODS, times=None, error=ApiError(500))
        h.start()
        h.edit(DASKCLUSTERS, "demo", {"worker": {"replicas": 3}})
        turns = len(h.turns)
        await h.pass_time(60)
        assert len(h.turns) == turns
        fault.cancel()
        await h.settle()
        assert len(h.created()) == len(set(h.created())) == before + 1

    play(main)
