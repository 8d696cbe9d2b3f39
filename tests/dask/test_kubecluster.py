"""`KubeCluster` on the real node with real Dask, from outside by forwards and from inside a Pod."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import subprocess
import sys
import sysconfig
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dask_gitops.client.background import background, forget
from dask_gitops.client.cluster import KubeCluster
from dask_gitops.client.errors import (
    ClusterExistsError,
    ClusterNotFoundError,
    WorkerGroupNotFoundError,
    WorkerStartTimeoutError,
)
from distributed import Client

from tests.support.kubernetes import JSON, Kubectl, eventually

# Python's last part, and packages that only the image has, may differ.
pytestmark = pytest.mark.filterwarnings("ignore::distributed.versions.VersionMismatchWarning")
SMALL: JSON = {"requests": {"cpu": "50m", "memory": "150Mi"}}


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    """What a cluster had begun in the loop of this process has ended with it."""

    async def left() -> list[str]:
        me = asyncio.current_task()
        return [repr(task) for task in asyncio.all_tasks() if task is not me]

    yield
    assert background().call(left()) == []
    one = forget()
    assert one is not None
    one.stop()


def options(kubectl: Kubectl, **more: Any) -> dict[str, Any]:
    where = {"kubeconfig": kubectl.kubeconfig, "namespace": kubectl.namespace}
    return {"n_workers": 1, "resources": SMALL, "quiet": True, **where, **more}


def clusters(kubectl: Kubectl) -> list[str]:
    """Names of those that there are, and are not on their way out."""
    return [
        each["metadata"]["name"]
        for each in kubectl.list("daskclusters", "")
        if "deletionTimestamp" not in each["metadata"]
    ]


def test_from_outside(kubectl: Kubectl) -> None:
    """Each method without await; another object finds the same cluster, and leaves it there."""
    with KubeCluster(name="demo", **options(kubectl)) as cluster, Client(cluster) as client:
        assert cluster.shutdown_on_close
        assert client.submit(sum, range(101)).result(timeout=60) == 5050
        assert cluster.dashboard_link.startswith("http://127.0.0.1:")
        cluster.scale(2)
        cluster.wait_for_workers(2, timeout=60)
        assert cluster.observed == cluster.requested == cluster.plan
        assert len(cluster.observed) == 2
        cluster.add_worker_group("more", n_workers=1)
        with pytest.raises(ClusterExistsError, match="already has the worker group 'more'"):
            cluster.add_worker_group("more")
        cluster.wait_for_workers(3, timeout=60)
        with pytest.raises(WorkerGroupNotFoundError, match=r"it has: default, more$"):
            cluster.scale(3, "gpu")
        with pytest.raises(WorkerStartTimeoutError, match="Only 3/4 workers arrived after 1"):
            cluster.wait_for_workers(4, timeout=1)
        logs = cluster.get_logs()
        assert "Scheduler at" in logs["demo-scheduler"]
        assert set(cluster.observed) < set(logs)
        picture = cluster._repr_html_()
        assert "demo" in picture
        assert "more" in picture
        assert cluster._widget() is not None
        cluster.delete_worker_group("more")
        adapting = cluster.adapt(minimum=0, maximum=2, interval=1)
        assert (adapting.minimum, adapting.maximum) == (0, 2)
        assert kubectl.get("daskautoscaler", "demo")["spec"]["maximum"] == 2
        cluster.scale(1)
        assert kubectl.list("daskautoscalers", "") == []
        with KubeCluster.from_name(
            f"{kubectl.namespace}/demo", kubeconfig=kubectl.kubeconfig, quiet=True
        ) as same:
            assert not same.shutdown_on_close
            assert same.name == "demo"
            assert same.to_manifest()["spec"] == cluster.to_manifest()["spec"]
            with Client(same) as other:
                assert other.submit(sum, range(11)).result(timeout=60) == 55
        assert clusters(kubectl) == ["demo"]
    assert clusters(kubectl) == []
    with pytest.raises(RuntimeError, match=r"is closed; KubeCluster.from_name\('demo'\) connects"):
        cluster.scale(1)
    cluster.close()
    with pytest.raises(ClusterNotFoundError, match="no DaskCluster 'demo' in"):
        KubeCluster.from_name("demo", kubeconfig=kubectl.kubeconfig, namespace=kubectl.namespace)


def test_with_await_and_a_scheduler_that_is_replaced(kubectl: Kubectl) -> None:
    """Nobody awaits what is asked of it. Its scheduler's Pod is deleted: on it goes at the same address."""

    async def main() -> None:
        async with KubeCluster(name="demo", asynchronous=True, **options(kubectl)) as cluster:
            async with Client(cluster, asynchronous=True) as client:
                assert await client.submit(sum, range(101)) == 5050
                cluster.scale(2)
                await cluster.wait_for_workers(2, timeout=60)
                assert "Scheduler at" in (await cluster.get_logs())["demo-scheduler"]
            address = cluster.scheduler_address
            before = kubectl.get("pod", "demo-scheduler")["metadata"]["uid"]
            kubectl("delete", "pod", "demo-scheduler", "--wait=false")

            def another() -> bool:
                found = kubectl.list("pods", "dask.org/component=scheduler")
                return any(pod["metadata"]["uid"] != before for pod in found)

            await asyncio.to_thread(eventually, "another scheduler", another)
            async with Client(address, asynchronous=True, timeout=60) as client:
                assert await client.submit(sum, range(11)) == 55
            await cluster.wait_for_workers(2, timeout=90)
            assert cluster.scheduler_address == address
            cluster.adapt(maximum=3)
            where = {"kubeconfig": kubectl.kubeconfig, "namespace": kubectl.namespace}
            same = await KubeCluster.from_name("demo", asynchronous=True, quiet=True, **where)
            same.close()  # awaited by nobody
            while same.status.name != "closed":
                await asyncio.sleep(0.1)
            client = await Client(cluster, asynchronous=True)
            await client.shutdown()
            assert cluster.status.name == "closed"
        assert clusters(kubectl) == []

    asyncio.run(main())


SCRIPT = """
import os, signal, sys, warnings
from dask_gitops.client.cluster import KubeCluster
from distributed import Client

warnings.simplefilter("ignore")
if __name__ == "__main__":
    # As on a terminal: where tests are started in the background, nobody hears it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    print("begins", flush=True)
    cluster = KubeCluster(name=sys.argv[1], namespace=sys.argv[2], kubeconfig=sys.argv[3], n_workers=1,
                          resources={"requests": {"cpu": "50m", "memory": "150Mi"}}, quiet=True)
    client = Client(cluster)
    if os.fork() == 0:
        sys.exit(0)  # a child ends as a script does
    os.wait()
    assert client.submit(sum, range(101)).result(timeout=60) == 5050
    print("computed", flush=True)
"""
ENDINGS = {
    "end": "",
    "exit": "    sys.exit(3)\n",
    "exception": "    raise ValueError('of the user')\n",
    "interrupt": "    signal.raise_signal(signal.SIGINT)\n",
    "stay": "    client.close(); cluster.shutdown_on_close = False\n",
}


def script(kubectl: Kubectl, name: str, ending: str) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", SCRIPT + ending]
    return subprocess.Popen(
        [*words, name, kubectl.namespace, kubectl.kubeconfig],
        env={**os.environ, "PYTHONPATH": "controller"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_end_of_a_script_is_its_end(kubectl: Kubectl) -> None:
    """Whichever way it ends: no object is left, and a child that ends before takes nothing with it."""
    codes = {"end": 0, "exit": 3, "exception": 1, "interrupt": -signal.SIGINT, "stay": 0}
    processes = {name: script(kubectl, name, ending) for name, ending in ENDINGS.items()}
    for name, process in processes.items():
        said, errors = process.communicate(timeout=240)
        assert said == "begins\ncomputed\n", errors
        assert process.returncode == codes[name], errors
        if codes[name] == 0:
            assert errors == ""
    assert clusters(kubectl) == ["stay"]


@pytest.mark.parametrize("after_s", [0.0, 0.6, 2.0])
def test_an_interrupt_while_it_starts(kubectl: Kubectl, after_s: float) -> None:
    """What was created goes, at whatever moment it comes."""
    process = script(kubectl, "demo", "")
    assert process.stdout is not None
    assert process.stdout.readline() == "begins\n"
    if after_s:
        eventually("it is created", lambda: clusters(kubectl) == ["demo"])
        time.sleep(after_s - 0.5)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode != 0
    assert clusters(kubectl) == []


#: What a client needs beside Dask, which the image has; for the same Python.
PACKAGES = [
    "aiohappyeyeballs",
    "aiohttp",
    "aiosignal",
    "attr",
    "attrs",
    "frozenlist",
    "idna",
    "multidict",
    "propcache",
    "yarl",
    "rich",
    "pygments",
    "markdown_it",
    "mdurl",
    "typing_extensions.py",
]
INSIDE = """
import os, sys, time
from dask_gitops import KubeCluster
from distributed import Client

cluster = KubeCluster(name="in", n_workers=1, quiet=True,
                      resources={"requests": {"cpu": "50m", "memory": "150Mi"}})
with Client(cluster) as client:
    assert client.submit(sum, range(101)).result(timeout=60) == 5050
with KubeCluster.from_name("in", quiet=True) as same:
    print(same.scheduler_address, same.dashboard_link, flush=True)
os._exit(0)  # as if it were killed
"""


def pack() -> bytes:
    """The client and what it needs, for a Pod."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        tar.add("controller/dask_gitops", "dask_gitops")
        site = Path(sysconfig.get_path("platlib"))
        for name in PACKAGES:
            if (site / name).exists():
                tar.add(site / name, name)
    return packed.getvalue()


def test_inside_a_pod(kubectl: Kubectl, dask_image: str) -> None:
    """With a ServiceAccount that has the role edit: by the Service. The cluster goes with its Pod."""
    kubectl("create", "serviceaccount", "user")
    user = f"--serviceaccount={kubectl.namespace}:user"
    kubectl("create", "rolebinding", "user", "--clusterrole=edit", user)
    container = {"name": "job", "image": dask_image, "command": ["sleep", "600"]}
    kubectl.apply(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "job"},
            "spec": {
                "serviceAccountName": "user",
                "terminationGracePeriodSeconds": 0,
                "containers": [container],
            },
        }
    )
    kubectl("wait", "pod/job", "--for=condition=Ready", "--timeout=120s")
    words = ["kubectl", "--kubeconfig", kubectl.kubeconfig, "-n", kubectl.namespace]
    words += ["exec", "-i", "job", "--", "env", "PYTHONPATH=/tmp/lib", "python", "-c"]
    unpack = (
        "import sys, tarfile; tarfile.open(fileobj=sys.stdin.buffer, mode='r|gz')"
        ".extractall('/tmp/lib')"
    )
    subprocess.run([*words, unpack], input=pack(), check=True, timeout=120)
    done = subprocess.run([*words, INSIDE], capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    host = f"in-scheduler.{kubectl.namespace}.svc"
    assert done.stdout.split() == [f"tcp://{host}:8786", f"http://{host}:8787/status"], done
    assert clusters(kubectl) == ["in"]
    kubectl("delete", "pod", "job", "--wait=false")
    eventually("the cluster goes with its Pod", lambda: clusters(kubectl) == [])
