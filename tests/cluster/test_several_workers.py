"""Pods that run several Dask workers each: such a pod goes when the last of them is retired."""

from __future__ import annotations

import time

import pytest

from tests.cluster.manifests import cluster, pod_spec
from tests.cluster.test_main_job import live_workers, ready, workers_become
from tests.support.fake_scheduler import FakeSchedulers
from tests.support.kubernetes import Audit, Kubectl, eventually

pytestmark = pytest.mark.usefixtures("controller")
MANY = pod_spec(args=["dask", "worker", "--nworkers", "3"])


def test_a_pod_stays_until_its_slowest_worker_is_retired(
    kubectl: Kubectl, schedulers: FakeSchedulers, audit: Audit
) -> None:
    kubectl.apply(cluster(replicas=2, worker=MANY))
    ready(kubectl)
    uids = {p["metadata"]["uid"] for p in workers_become(kubectl, 2)}
    slow = {f"Worker-{uid}#1" for uid in uids}
    schedulers.draining |= slow
    before = len(schedulers.calls)
    try:
        kubectl("scale", "daskworkergroup", "demo-default", "--replicas=1")

        def asked() -> list[list[str]]:
            calls = schedulers.calls[before:]
            return [c["ids"] for _, what, c in calls if what == "retire" and slow & {*c["ids"]}]

        def only_the_slow_one() -> bool:
            """The scheduler retired the other two, and was asked once more."""
            return any(set(ids) < slow for ids in asked())

        eventually("two of three are retired", only_the_slow_one)
        time.sleep(3)  # time enough to delete a pod too early
        assert {p["metadata"]["uid"] for p in live_workers(kubectl)} == uids
        assert sorted(asked()[0]) == [f"{asked()[0][0][:-2]}#{n}" for n in range(3)]
    finally:
        schedulers.draining -= slow
    workers_become(kubectl, 1)
    assert len(audit.touched("delete", "pods", namespace=kubectl.namespace)) == 1
