"""A declared cluster computes: the smallest one, one of values, one of an old manifest, on a named group."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.dask.support import Cluster, Inside, NewCluster, manifest, workers
from tests.support.kubernetes import JSON, Audit, Kubectl, condition, eventually, run


def test_smallest_cluster(cluster: NewCluster) -> None:
    it = cluster({}).wait_ready()
    assert it.connect(1) == list(it.pods())
    assert it.computes()
    status = it.get()["status"]
    assert status["phase"] == "Running"
    assert status["workers"] == {"desired": 1, "ready": 1}
    assert status["schedulerAddress"] == it.address


def test_cluster_declared_by_values(
    kubectl: Kubectl, inside: Inside, audit: Audit, root: Path, tmp_path: Path, dask_image: str
) -> None:
    """A release that brings no controller, as a data team has it; two groups, work goes to the one named."""
    repository, _, tag = dask_image.rpartition(":")
    values: JSON = {
        "controller": {"enabled": False},
        "crds": {"enabled": False},
        "defaults": {
            "image": {"repository": repository, "tag": tag},
            "worker": {"nthreads": 1, "resources": {"limits": {"memory": "400Mi"}}},
        },
        "clusters": {"c": {"worker": {"replicas": 1}, "workerGroups": {"big": {"replicas": 2}}}},
    }
    (tmp_path / "values.json").write_text(json.dumps(values))
    run(
        "helm", "--kubeconfig", kubectl.kubeconfig, "-n", kubectl.namespace,
        "install", "team", root, "-f", tmp_path / "values.json", "--wait", "--timeout", "120s",
    )  # fmt: skip
    it = Cluster("c", kubectl, inside, audit)
    assert condition(it.get(), "Ready")["status"] == "True", (
        "helm --wait came back before it is ready"
    )
    big = it.wait_pods(2, "c-big")
    it.connect(3)
    assert it.inside("compute_on('c-big')") == sorted(big)
    assert it.inside("compute_on('c-default')") == list(it.pods())


OLD = """
apiVersion: kubernetes.dask.org/v1
kind: DaskCluster
metadata:
  name: c
spec:
  worker:
    replicas: 2
    spec:
      containers:
      - name: worker
        image: IMAGE
        imagePullPolicy: "IfNotPresent"
        args:
          - dask-worker
          - --name
          - $(DASK_WORKER_NAME)
          - --dashboard
          - --dashboard-address
          - "8788"
        ports:
          - name: http-dashboard
            containerPort: 8788
            protocol: TCP
  scheduler:
    spec:
      containers:
      - name: scheduler
        image: IMAGE
        imagePullPolicy: "IfNotPresent"
        args:
          - dask-scheduler
        ports:
          - name: tcp-comm
            containerPort: 8786
            protocol: TCP
          - name: http-dashboard
            containerPort: 8787
            protocol: TCP
        readinessProbe:
          httpGet:
            port: http-dashboard
            path: /health
          initialDelaySeconds: 1
          periodSeconds: 2
        livenessProbe:
          httpGet:
            port: http-dashboard
            path: /health
          initialDelaySeconds: 15
          periodSeconds: 20
    service:
      type: NodePort
      selector:
        dask.org/cluster-name: c
        dask.org/component: scheduler
      ports:
      - name: tcp-comm
        protocol: TCP
        port: 8786
        targetPort: "tcp-comm"
      - name: http-dashboard
        protocol: TCP
        port: 8787
        targetPort: "http-dashboard"
"""


def test_manifest_of_the_existing_operator(
    kubectl: Kubectl, inside: Inside, audit: Audit, dask_image: str
) -> None:
    """Its commands are no longer in the image; their words still work."""
    kubectl("apply", "-f", "-", stdin=OLD.replace("IMAGE", dask_image))
    it = Cluster("c", kubectl, inside, audit).wait_ready()
    assert it.connect(2) == sorted(it.pods())
    assert it.computes()
    assert kubectl.get("service", "c-scheduler")["spec"]["type"] == "NodePort"


@pytest.mark.parametrize("who", ["scheduler", "worker"])
def test_image_that_does_not_exist(cluster: NewCluster, who: str) -> None:
    image = "localhost/no-such-image:1"
    spec: JSON = {"worker": {"replicas": 1}}
    spec.setdefault(who, {})["spec"] = {"containers": [{"name": who, "image": image}]}
    it = cluster(spec)

    def told() -> bool:
        found = it.get()
        ready = condition(found, "Ready")
        assert ready.get("status") == "False", ready
        assert ready["reason"] in ("ImagePullBackOff", "ErrImagePull"), ready
        assert image in ready["message"], ready
        assert condition(found, "Stalled").get("status") != "True", found["status"]
        return True

    eventually("Ready tells which image cannot be pulled", told, timeout=60)


def test_group_of_its_own_comes_and_goes(cluster: NewCluster, kubectl: Kubectl) -> None:
    """A DaskWorkerGroup computes on its own; deleting it hands its results to the others first."""
    it = cluster({"worker": workers(1)}).wait_ready()
    kubectl.apply(manifest("DaskWorkerGroup", "extra", {"cluster": "c", "worker": workers(2)}))
    extra = it.wait_pods(2, "extra")
    it.connect(3)
    assert it.inside("compute_on('extra')") == sorted(extra)
    before = it.inside("hold(30, 6)")
    kubectl("delete", "daskworkergroup", "extra")
    eventually("the group's pods are gone", lambda: not it.pods("extra"), timeout=90)
    assert it.inside("hashes()") == before
    assert it.inside("spread()") == [36]
    assert it.lost() == []
