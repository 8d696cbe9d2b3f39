"""Several `KubeCluster`s at once on the real node: in one loop, in threads, of several makers, of several users."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml
from dask_gitops.client.cluster import KubeCluster
from dask_gitops.client.errors import NotAllowedError
from distributed import Client

from tests.dask.support import OURS, manifest, workers
from tests.dask.test_kubecluster import SMALL, clusters, no_thread_is_left, options
from tests.support.controller_process import service_account_kubeconfig
from tests.support.kubernetes import Audit, Kubectl, eventually, run

__all__ = ["no_thread_is_left"]
# Python's last part, and packages that only the image has, may differ.
pytestmark = pytest.mark.filterwarnings("ignore::distributed.versions.VersionMismatchWarning")


def test_two_in_one_loop_and_two_in_threads(kubectl: Kubectl) -> None:
    """All four begin at about the same time; each computes on workers of its own."""

    async def one(name: str) -> set[str]:
        async with KubeCluster(name=name, asynchronous=True, **options(kubectl)) as cluster:
            async with Client(cluster, asynchronous=True) as client:
                assert await client.submit(sum, range(101)) == 5050
            await cluster.wait_for_workers(1, timeout=60)
            return set(cluster.observed)

    async def in_one_loop() -> list[set[str]]:
        return list(await asyncio.gather(one("a"), one("b")))

    def in_a_thread(name: str) -> set[str]:
        with KubeCluster(name=name, **options(kubectl)) as cluster, Client(cluster) as client:
            assert client.submit(sum, range(101)).result(timeout=120) == 5050
            cluster.wait_for_workers(1, timeout=60)
            return set(cluster.observed)

    with ThreadPoolExecutor(3) as threads:
        loop = threads.submit(asyncio.run, in_one_loop())
        others = [threads.submit(in_a_thread, name) for name in ("c", "d")]
        seen = [*loop.result(), *(each.result() for each in others)]
    for names, name in zip(seen, "abcd", strict=True):
        assert all(worker.startswith(f"{name}-default-worker-") for worker in names)
    assert clusters(kubectl) == []


def test_clusters_of_values_of_kubectl_and_of_python(
    kubectl: Kubectl, root: Path, tmp_path: Path
) -> None:
    """Python connects to each, computes, and deletes its own alone."""
    group = {"replicas": 1, "nthreads": 1, "resources": SMALL}
    values = {
        "controller": {"enabled": False},
        "crds": {"enabled": False},
        "clusters": {"of-values": {"worker": group, "scheduler": {"resources": SMALL}}},
    }
    (tmp_path / "values.yaml").write_text(yaml.safe_dump(values))
    helm = ("helm", "--kubeconfig", kubectl.kubeconfig, "-n", kubectl.namespace)
    run(*helm, "install", "clusters", root, "-f", tmp_path / "values.yaml")
    kubectl.apply(manifest("DaskCluster", "of-kubectl", {"worker": workers(1)}))
    where: dict[str, Any] = {
        "kubeconfig": kubectl.kubeconfig,
        "namespace": kubectl.namespace,
        "quiet": True,
    }

    def used(cluster: KubeCluster) -> None:
        with cluster, Client(cluster) as client:
            assert client.submit(sum, range(101)).result(timeout=120) == 5050

    used(KubeCluster(name="of-python", **options(kubectl)))
    used(KubeCluster.from_name("of-kubectl", **where))
    # Whatever it is told: what Helm made is Helm's.
    used(KubeCluster.from_name("of-values", shutdown_on_close=True, **where))
    assert sorted(clusters(kubectl)) == ["of-kubectl", "of-values"]
    run(*helm, "uninstall", "clusters")
    eventually("Helm's is gone", lambda: clusters(kubectl) == ["of-kubectl"])
    used(KubeCluster.from_name("of-kubectl", shutdown_on_close=True, **where))
    assert clusters(kubectl) == []


def test_two_users_who_may_edit_one_namespace_each(
    kubectl: Kubectl, audit: Audit, tmp_path: Path
) -> None:
    """Each makes, changes and deletes a cluster of the same name; neither can touch the other's, nor do they try."""
    other = Kubectl(kubectl.kubeconfig, f"{kubectl.namespace}-2")
    kubectl("create", "namespace", other.namespace)
    kubectl("label", "namespace", other.namespace, OURS)
    homes = [kubectl, other]
    files = []
    for home in homes:
        home("create", "serviceaccount", "user")
        account = f"--serviceaccount={home.namespace}:user"
        home("create", "rolebinding", "user", "--clusterrole=edit", account)
        file = tmp_path / home.namespace
        files.append(service_account_kubeconfig(home, "user", file))
        config = yaml.safe_load(file.read_text())
        for context in config["contexts"]:
            context["context"]["namespace"] = home.namespace
        file.write_text(yaml.safe_dump(config))

    def story(file: str) -> str:
        given: dict[str, Any] = {"kubeconfig": file, "quiet": True}
        with KubeCluster(name="demo", n_workers=1, resources=SMALL, **given) as cluster:
            with Client(cluster) as client:
                assert client.submit(sum, range(101)).result(timeout=120) == 5050
            cluster.scale(2)
            cluster.add_worker_group("more", n_workers=0)
            cluster.delete_worker_group("more")
            cluster.adapt(minimum=0, maximum=1)
            cluster.scale(1)
            assert "demo-scheduler" in cluster.get_logs()
            KubeCluster.from_name("demo", **given).close()
            return str(cluster.namespace)

    try:
        with ThreadPoolExecutor(2) as both:
            assert list(both.map(story, files)) == [home.namespace for home in homes]
        for home in homes:
            who = f"system:serviceaccount:{home.namespace}:user"
            asked = audit.requests(user=who)
            assert asked
            refused = [r["requestURI"] for r in asked if r["responseStatus"]["code"] in (401, 403)]
            assert refused == []
            assert clusters(home) == []
        mine, others = files[0], f"{other.namespace}/demo"
        with pytest.raises(
            NotAllowedError,
            match=rf"may not \w+ (daskclusters|pods) in namespace '{other.namespace}'",
        ):
            KubeCluster.from_name(others, kubeconfig=mine, quiet=True)
    finally:
        kubectl("delete", "namespace", other.namespace, "--wait=false")
