"""The process itself on a real API server: dead connections, tokens that expire, a leader that is stopped, restarts."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml
from dask_gitops.kube import DASKCLUSTERS, DASKJOBS, PODS, KubeClient, Resource
from dask_gitops.kube.credentials import from_kubeconfig

from tests.cluster.conftest import ACCOUNT, SYSTEM, local_kubernetes
from tests.cluster.manifests import cluster
from tests.cluster.test_main_job import live_workers, ready, workers_become
from tests.support.controller_process import ControllerProcess, free_port, get
from tests.support.fake_scheduler import FakeSchedulers
from tests.support.kubernetes import Audit, Kubectl, eventually
from tests.support.tcp_proxy import TcpProxy

LEASE = {"DASK_GITOPS_LEASE_NAMESPACE": SYSTEM, "DASK_GITOPS_LEASE_NAME": ACCOUNT}
MINUTE = 60  # within which it acts on a new cluster after recovery


@pytest.fixture(autouse=True)
def _alone(controller: ControllerProcess, request: pytest.FixtureRequest) -> Iterator[None]:
    """The other tests' controller makes room for those of these tests."""
    eventually("it has begun", lambda: "is the leader" in controller.text(), timeout=120)
    controller.stop(timeout=60)
    yield
    controller.start()


def server_of(kubeconfig: str) -> tuple[str, int]:
    config = yaml.safe_load(Path(kubeconfig).read_text())
    server = urlsplit(config["clusters"][0]["cluster"]["server"])
    assert server.hostname
    assert server.port
    return server.hostname, server.port


@pytest.fixture
def proxy(kubeconfig: str) -> Iterator[TcpProxy]:
    proxy = TcpProxy(*server_of(kubeconfig))
    proxy.start()
    yield proxy
    proxy.stop()


def through(proxy: TcpProxy, kubeconfig: str, target: Path) -> str:
    """A kubeconfig whose server is behind the proxy."""
    config = yaml.safe_load(Path(kubeconfig).read_text())
    for entry in config["clusters"]:
        entry["cluster"]["server"] = f"https://127.0.0.1:{proxy.port}"
    target.write_text(yaml.safe_dump(config))
    return str(target)


@contextlib.contextmanager
def running(process: ControllerProcess) -> Iterator[ControllerProcess]:
    process.start()
    try:
        yield process
    finally:
        process.stop(timeout=60)


def pid(process: ControllerProcess) -> int:
    assert process.alive
    assert process.process is not None
    return process.process.pid


async def seconds_to_bookmarks(kubeconfig: str) -> dict[str, float]:
    """Seconds from the opening of a watch to its first bookmark; infinite if there was none in 100 s."""

    async def first(client: KubeClient, resource: Resource) -> float:
        page = await client.list(resource, limit=1)
        started = time.monotonic()
        watch = client.watch(resource, resource_version=page.resource_version, timeout_s=300)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(100), contextlib.aclosing(watch) as events:
                async for kind, _ in events:
                    if kind == "BOOKMARK":
                        return time.monotonic() - started
        return float("inf")

    resources = (PODS, DASKCLUSTERS, DASKJOBS)
    async with KubeClient(from_kubeconfig(kubeconfig)) as client:
        found = await asyncio.gather(*(first(client, r) for r in resources))
    return {r.plural: seconds for r, seconds in zip(resources, found, strict=True)}


def test_connections_that_die_without_a_word(
    kubectl: Kubectl, proxy: TcpProxy, account_kubeconfig: str, tmp_path: Path
) -> None:
    """All of them at once, and nobody is told. It notices by itself; the liveness probe sees nothing."""
    port = free_port()
    kubeconfig = through(proxy, account_kubeconfig, tmp_path / "kubeconfig")
    env = {"DASK_GITOPS_PORT": str(port)}
    with running(ControllerProcess(kubeconfig, tmp_path / "log", env)) as process:
        kubectl.apply(cluster("before", replicas=1))
        ready(kubectl, "before")
        number = pid(process)
        assert proxy.kill_silently() >= 6  # the watches, and what is kept alive
        started = time.monotonic()
        kubectl.apply(cluster("after", replicas=2))
        bookmarks = asyncio.run(seconds_to_bookmarks(kubectl.kubeconfig))

        def is_there() -> bool:
            assert get(f"http://127.0.0.1:{port}/healthz")[0] == 200
            assert kubectl.exists("pod", "after-scheduler")
            return True

        eventually("it acts on a new cluster", is_there, timeout=150, every=1)
        print(f"noticed within {time.monotonic() - started:.0f} s; bookmarks after {bookmarks}")
        ready(kubectl, "after")
        assert pid(process) == number
        # What the informer waits for. Of a kind of which nothing was written since the list none may come; then the watch is
        # opened anew, which costs a request.
        assert min(bookmarks.values()) < 100


def test_a_leader_stopped_in_the_middle_of_two_hundred_creates(
    kubectl: Kubectl, proxy: TcpProxy, account_kubeconfig: str, tmp_path: Path, audit: Audit
) -> None:
    proxy.delay_s = 0.15  # so that there is a middle
    slow = through(proxy, account_kubeconfig, tmp_path / "kubeconfig")
    leader = ControllerProcess(slow, tmp_path / "leader", LEASE)
    standby = ControllerProcess(account_kubeconfig, tmp_path / "standby", LEASE)
    leader.start()
    try:
        eventually("it leads", lambda: "is the leader" in leader.text(), timeout=60)
        kubectl.apply(cluster(replicas=1))
        ready(kubectl)
        standby.start()
        kubectl("scale", "daskworkergroup", "demo-default", "--replicas=201")

        def created() -> int:
            return len(audit.touched("create", "pods", namespace=kubectl.namespace))

        eventually("some are made", lambda: created() >= 20, timeout=60, every=0.02)
        leader.send(signal.SIGSTOP)
        at = created()
        assert at < 190, "stopped too late to show anything"
        eventually("the standby leads", lambda: "is the leader" in standby.text(), timeout=60)
        workers_become(kubectl, 201, timeout=90)
        leader.send(signal.SIGCONT)
        assert leader.process is not None
        leader.process.wait(60)
        ready(kubectl)
        time.sleep(5)  # whatever it had in mind would have been sent by now
        names = audit.touched("create", "pods", namespace=kubectl.namespace)
        print(f"stopped after {at} creates; in all {len(names)}")
        assert len(names) == 1 + 1 + 200
        assert len(audit.done("create", "pods", namespace=kubectl.namespace)) <= len(names)
        assert audit.requests("delete", "pods", namespace=kubectl.namespace) == []
        assert {p["metadata"]["name"] for p in kubectl.list("pods")} == names
    finally:
        with contextlib.suppress(ProcessLookupError):
            leader.send(signal.SIGCONT)
        leader.stop()
        standby.stop()


def test_a_leader_that_is_asked_to_stop_hands_over_at_once(
    kubectl: Kubectl,
    account_kubeconfig: str,
    schedulers: FakeSchedulers,
    tmp_path: Path,
    audit: Audit,
) -> None:
    """As in a rolling update: again and again in the middle of scaling."""
    processes = [
        ControllerProcess(account_kubeconfig, tmp_path / f"log-{n}", LEASE) for n in range(3)
    ]

    def holder() -> str:
        lease = Kubectl(kubectl.kubeconfig, SYSTEM).get("lease", ACCOUNT)
        return str(lease["spec"]["holderIdentity"])

    processes[0].start()
    try:
        kubectl.apply(cluster(replicas=1))
        ready(kubectl)
        longest = 0.0
        for n, (old, new) in enumerate(itertools.pairwise(processes)):
            new.start()
            count = 41 if n % 2 == 0 else 5
            kubectl("scale", "daskworkergroup", "demo-default", f"--replicas={count}")
            time.sleep(0.4)
            stopped, ended, lease = time.monotonic(), old.process, holder()
            old.stop()
            assert ended is not None
            assert ended.returncode == 0  # else `kubectl get pods` would show an error
            assert holder() != lease  # nobody waits for the end of its term
            eventually(
                "it leads", lambda new=new: "is the leader" in new.text(), timeout=60, every=0.05
            )
            longest = max(longest, time.monotonic() - stopped)
            workers_become(kubectl, count, timeout=90)
        ready(kubectl)
        print(f"taken over within {longest:.1f} s after SIGTERM")
        made = audit.touched("create", "pods", namespace=kubectl.namespace)
        gone = audit.touched("delete", "pods", namespace=kubectl.namespace)
        assert len(made) == 1 + 1 + 40
        assert len(gone) == 36
        assert len(audit.done("create", "pods", namespace=kubectl.namespace)) == len(made)
    finally:
        for process in processes:
            process.stop()


class InCluster:
    """Credentials as a pod has them, in a mount namespace of the process' own."""

    def __init__(self, admin: Kubectl, folder: Path) -> None:
        self.admin = admin
        self.folder = folder
        folder.mkdir()
        config = yaml.safe_load(Path(admin.kubeconfig).read_text())["clusters"][0]["cluster"]
        ca = config.get("certificate-authority")
        if ca:
            (folder / "ca.crt").write_bytes((Path(admin.kubeconfig).parent / ca).read_bytes())
        else:
            done = subprocess.run(
                ["base64", "-d"],
                input=config["certificate-authority-data"].encode(),
                capture_output=True,
            )
            (folder / "ca.crt").write_bytes(done.stdout)
        (folder / "namespace").write_text(SYSTEM)
        self.rotate("first")

    def rotate(self, name: str) -> None:
        """A new token, which ends with a Secret of this name; replaced in the file as the kubelet does it."""
        self.admin("create", "secret", "generic", name)
        token = self.admin(
            "create", "token", ACCOUNT, "--duration=10m",
            "--bound-object-kind=Secret", f"--bound-object-name={name}",
        )  # fmt: skip
        (self.folder / "new").write_text(token.strip())
        (self.folder / "new").replace(self.folder / "token")

    def expire(self, name: str) -> None:
        """The token is refused from now on (servers remember their judgement for ten seconds)."""
        self.admin("delete", "secret", name)

    def process(self, log: Path, **env: str) -> ControllerProcess:
        host, port = server_of(self.admin.kubeconfig)
        script = (
            "mount -t tmpfs none /run && mkdir -p /run/secrets/kubernetes.io && "
            f'ln -s {self.folder} /run/secrets/kubernetes.io/serviceaccount && exec "$@"'
        )
        within = ("unshare", "-m", "--propagation", "private", "sh", "-c", script, "sh")
        env = {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": str(port), **env}
        return ControllerProcess("/nowhere", log, env, within)


@pytest.fixture
def account(system: Kubectl, tmp_path: Path) -> Iterator[InCluster]:
    yield InCluster(system, tmp_path / "account")
    for name in ("first", "second"):
        system.delete("secret", name)


def test_a_token_that_is_rotated_in_time(
    kubectl: Kubectl, account: InCluster, tmp_path: Path
) -> None:
    """The old one ends at once, while requests with it are under way: nobody notices, the Lease is kept."""
    with running(account.process(tmp_path / "log", **LEASE)) as process:
        kubectl.apply(cluster("before", replicas=1))
        ready(kubectl, "before")
        number = pid(process)
        account.rotate("second")
        account.expire("first")
        time.sleep(25)
        kubectl.apply(cluster("after", replicas=2))
        kubectl("wait", "daskcluster/after", "--for=condition=Ready", f"--timeout={MINUTE}s")
        assert pid(process) == number
        assert "not renewed in time" not in process.text()


def test_a_token_that_ends_before_there_is_a_new_one(
    kubectl: Kubectl, account: InCluster, tmp_path: Path
) -> None:
    """It may end for the Lease's sake, as often as it must; the kubelet starts it again."""
    process = account.process(tmp_path / "log", **LEASE)
    process.start()

    def kubelet() -> None:
        if process.process is None or process.process.poll() is not None:
            process.start(wait=False)

    try:
        kubectl.apply(cluster("before", replicas=1))
        ready(kubectl, "before")
        account.expire("first")
        kubectl.apply(cluster("after", replicas=2))
        for _ in range(40):
            time.sleep(1)
            kubelet()
        assert "Unauthorized" in process.text()
        kubectl("scale", "daskworkergroup", "before-default", "--replicas=3")
        time.sleep(5)
        assert (
            len(live_workers(kubectl, "dask.org/cluster-name=before,dask.org/component=worker"))
            == 1
        )
        account.rotate("second")

        def acts() -> bool:
            kubelet()
            selector = "dask.org/component=worker"
            assert len(live_workers(kubectl, selector)) == 5
            return True

        eventually("it acts again", acts, timeout=MINUTE)
    finally:
        process.stop(timeout=60)


def test_an_api_server_that_is_killed_and_started_again(tmp_path: Path, root: Path) -> None:
    name = "test-restart"
    local_kubernetes("down", "--name", name)
    kubeconfig = local_kubernetes("up", "--name", name, "--kwok-nodes", "2").splitlines()[-1]
    server: subprocess.Popen[bytes] | None = None
    here = Kubectl(kubeconfig)
    process = ControllerProcess(kubeconfig, tmp_path / "log")
    try:
        here("apply", "-f", str(root / "charts/crds/crds"))
        here("wait", "crd", "--all", "--for=condition=Established", "--timeout=30s")
        process.start()
        here.apply(cluster("before", replicas=2))
        ready(here, "before")
        number = pid(process)
        state = json.loads(local_kubernetes("status", "--name", name, "--json"))
        old = next(c["pid"] for c in state["components"] if c["component"] == "apiserver")
        command = Path(f"/proc/{old}/cmdline").read_bytes().split(b"\0")[:-1]
        folder = os.readlink(f"/proc/{old}/cwd")
        os.kill(old, signal.SIGKILL)
        time.sleep(20)
        server = subprocess.Popen(
            command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        eventually("it is back", lambda: "ok" in here("get", "--raw", "/readyz"), timeout=90)
        here.apply(cluster("after", replicas=2))
        eventually("it acts", lambda: here.exists("pod", "after-scheduler"), timeout=MINUTE)
        # The pretended nodes take a while of their own to find the server again.
        here("wait", "daskcluster/after", "--for=condition=Ready", "--timeout=180s")
        assert pid(process) == number
        assert len(live_workers(here)) == 4
    finally:
        process.stop(timeout=60)
        if server is not None:
            server.kill()
            server.wait()
        local_kubernetes("down", "--name", name)


@pytest.mark.soak
def test_memory_after_ten_thousand_pods(
    kubectl: Kubectl,
    account_kubeconfig: str,
    schedulers: FakeSchedulers,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    """Clusters of 99 workers come and go: resident memory after 10,000 pods is that after 1,000."""

    def resident(process: ControllerProcess) -> int:
        """KiB, at rest."""
        time.sleep(20)
        status = Path(f"/proc/{pid(process)}/status").read_text()
        return int(
            next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))
        )

    with running(ControllerProcess(account_kubeconfig, tmp_path / "log")) as process:
        sizes = {}
        for n in range(1, 101):
            kubectl.apply(cluster(f"c{n}", replicas=99))
            workers_become(
                kubectl, 99, f"dask.org/cluster-name=c{n},dask.org/component=worker", 180
            )
            kubectl("delete", "daskcluster", f"c{n}", "--wait=false")
            workers_become(kubectl, 0, f"dask.org/cluster-name=c{n}", 180)
            if n in (10, 100):
                sizes[n * 100] = resident(process)
        record_property(
            "closing", f"memory on the real API server, KiB after so many pods: {sizes}"
        )
        assert sizes[10_000] <= 1.1 * sizes[1_000]
