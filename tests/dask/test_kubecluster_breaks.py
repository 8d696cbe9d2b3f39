"""What breaks under a `KubeCluster` on the real node: connections, a port, its scheduler's container, its own process."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from dask_gitops.client.cluster import KubeCluster
from distributed import Client
from distributed.comm import CommClosedError

from tests.dask.support import workers
from tests.dask.test_kubecluster import SMALL, clusters, no_thread_is_left, options, script
from tests.support.kubernetes import Kubectl, eventually
from tests.support.tcp_proxy import TcpProxy

__all__ = ["no_thread_is_left"]
# Python's last part, and packages that only the image has, may differ.
pytestmark = pytest.mark.filterwarnings("ignore::distributed.versions.VersionMismatchWarning")
SCHEDULER = "dask.org/component=scheduler"


def computes(client: Client) -> bool:
    """New work, by a client that may not be connected just now."""
    try:
        return bool(client.submit(sum, range(101), pure=False).result(timeout=10) == 5050)
    except (OSError, TimeoutError, CancelledError, RuntimeError) as error:
        raise AssertionError(repr(error)) from None


@contextmanager
def proxied(kubectl: Kubectl, folder: Path) -> Iterator[tuple[TcpProxy, str]]:
    """A proxy before the API server, by which forwards go too, and a kubeconfig that leads there."""
    config = yaml.safe_load(Path(kubectl.kubeconfig).read_text())
    (one,) = config["clusters"]
    host, _, port = one["cluster"]["server"].removeprefix("https://").partition(":")
    proxy = TcpProxy(host, int(port))
    proxy.start()
    one["cluster"]["server"] = f"https://127.0.0.1:{proxy.port}"
    (folder / "kubeconfig").write_text(yaml.safe_dump(config))
    try:
        yield proxy, str(folder / "kubeconfig")
    finally:
        proxy.stop()


def test_connections_that_are_reset_or_go_silent(kubectl: Kubectl, tmp_path: Path) -> None:
    """The forward and all watches: new work goes on at the same address, and what was published is still there."""
    with proxied(kubectl, tmp_path) as (proxy, kubeconfig):
        given = options(kubectl, kubeconfig=kubeconfig)
        with KubeCluster(name="demo", **given) as cluster:
            address = cluster.scheduler_address
            with Client(cluster) as client:
                client.publish_dataset(kept=client.submit(sum, range(11)))
                assert client.get_dataset("kept").result(timeout=60) == 55
                assert proxy.reset() > 2
                eventually("new work, after a reset", lambda: computes(client))
                assert client.get_dataset("kept").result(timeout=60) == 55
            with Client(cluster) as deaf:
                assert computes(deaf)
                assert proxy.kill_silently() > 2
                with Client(cluster, timeout=60) as client:
                    assert computes(client)
                    assert client.get_dataset("kept").result(timeout=60) == 55
                    cluster.scale(2)
                    cluster.wait_for_workers(2, timeout=120)
            assert cluster.scheduler_address == address
        assert clusters(kubectl) == []


def test_the_schedulers_container_runs_out_of_memory(kubectl: Kubectl) -> None:
    """It is started again: the same object, at the same address, for new work."""
    limited = {"limits": {"memory": "400Mi"}}
    with KubeCluster(name="demo", **options(kubectl, scheduler_resources=limited)) as cluster:
        address = cluster.scheduler_address

        def eats() -> int:
            return len([bytearray(b"x" * 2**20) for _ in range(2000)])

        with Client(cluster) as client:
            assert computes(client)
            with pytest.raises(CommClosedError):
                client.run_on_scheduler(eats)

        def killed() -> bool:
            (pod,) = kubectl.list("pods", SCHEDULER)
            (container,) = pod["status"]["containerStatuses"]
            ended = container["lastState"].get("terminated") or container["state"]["terminated"]
            return bool(ended["reason"] == "OOMKilled")

        eventually("it is killed", killed)
        with Client(cluster, timeout=120) as client:
            eventually("new work", lambda: computes(client), timeout=120)
        assert cluster.scheduler_address == address


@contextmanager
def deaf(port: int) -> Iterator[None]:
    """What this machine sends to that port is lost."""
    rule = ["OUTPUT", "-p", "tcp", "--dport", str(port), "-j", "DROP"]
    subprocess.run(["iptables", "-w", "-t", "raw", "-I", *rule], check=True)
    try:
        yield
    finally:
        subprocess.run(["iptables", "-w", "-t", "raw", "-D", *rule], check=True)


def test_a_node_port_that_does_not_answer(
    kubectl: Kubectl, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says so, and forwards a port; where it answers, it is taken."""
    ports = [{"name": "tcp-comm", "port": 8786, "targetPort": "tcp-comm", "nodePort": 31786}]
    ports += [{"name": "http-dashboard", "port": 8787, "targetPort": "http-dashboard"}]
    worker = workers(1)
    worker["spec"]["containers"][0]["resources"] = SMALL
    spec = {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskCluster",
        "metadata": {"name": "demo"},
        "spec": {
            "worker": worker,
            "scheduler": {
                "spec": {"containers": [{"name": "scheduler", "resources": SMALL}]},
                "service": {"type": "NodePort", "ports": ports},
            },
        },
    }
    where: dict[str, Any] = {"kubeconfig": kubectl.kubeconfig, "namespace": kubectl.namespace}
    with deaf(31786), KubeCluster(custom_cluster_spec=spec, **where) as cluster:
        said = capsys.readouterr().err
        node = kubectl.get("pod", "demo-scheduler")["status"]["hostIP"]
        line = f"node port {node}:31786 does not answer: a port is forwarded instead"
        assert line in said
        assert cluster.scheduler_address.startswith("tcp://127.0.0.1:")
        with Client(cluster) as client:
            assert computes(client)
        cluster.shutdown_on_close = False
    with KubeCluster.from_name("demo", shutdown_on_close=True, quiet=True, **where) as cluster:
        assert cluster.scheduler_address == f"tcp://{node}:31786"
        with Client(cluster) as client:
            assert computes(client)


STAYS = "    import time; time.sleep(600)\n"


def test_a_kernel_that_is_killed(kubectl: Kubectl) -> None:
    """Nothing is deleted by it; the next one with the same name connects, computes, and may delete."""
    process = script(kubectl, "demo", STAYS)
    assert process.stdout is not None
    assert [process.stdout.readline() for _ in range(2)] == ["begins\n", "computed\n"]
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    before = kubectl.get("daskcluster", "demo")["metadata"]["uid"]
    with KubeCluster(name="demo", **options(kubectl)) as cluster, Client(cluster) as client:
        assert not cluster.shutdown_on_close
        assert computes(client)
        assert kubectl.get("daskcluster", "demo")["metadata"]["uid"] == before
    assert clusters(kubectl) == ["demo"]
    KubeCluster.from_name("demo", **{**options(kubectl), "shutdown_on_close": True}).close()
    assert clusters(kubectl) == []
