"""The process itself on a real API server: dead connections, tokens that expire, a leader that is stopped, restarts."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import re
import signal
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml
from dask_gitops.kube import DASKCLUSTERS, PODS, KubeClient, Resource, from_kubeconfig

from tests.cluster.conftest import ACCOUNT, SYSTEM, local_kubernetes
from tests.cluster.manifests import cluster
from tests.cluster.test_main_job import USER, live_workers, ready, workers_become
from tests.support.controller_process import ControllerProcess, free_port, get
from tests.support.fake_scheduler import FakeSchedulers
from tests.support.kubernetes import Audit, Kubectl, eventually
from tests.support.tcp_proxy import TcpProxy

LEASE = {"DASK_GITOPS_LEASE_NAMESPACE": SYSTEM, "DASK_GITOPS_LEASE_NAME": ACCOUNT}
MINUTE = 60  # within which it acts on a new cluster after recovery


@pytest.fixture(autouse=True)
def _alone(controller: ControllerProcess, request: pytest.FixtureRequest) -> Iterator[None]:
    """The other tests' controller makes room for those of these tests."""
    eventually("it has begun", lambda: controller.leads, timeout=120)
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


async def seconds_to_bookmarks(kubeconfig: str, namespace: str) -> dict[str, float]:
    """Seconds from the opening of a watch to its first bookmark, while an object of its kind changes now and then."""

    async def first(client: KubeClient, resource: Resource, name: str) -> float:
        page = await client.list(resource, limit=1)
        started = touched = time.monotonic()
        watch = client.watch(resource, resource_version=page.resource_version, timeout_s=300)
        async with asyncio.timeout(250), contextlib.aclosing(watch) as events:
            await touch(client, resource, name)
            async for kind, _ in events:
                if kind == "BOOKMARK":
                    return time.monotonic() - started
                if time.monotonic() > touched + 1:
                    touched = time.monotonic()
                    await touch(client, resource, name)
        raise AssertionError(f"no bookmark of {resource}")

    async def touch(client: KubeClient, resource: Resource, name: str) -> None:
        note = {"metadata": {"annotations": {"example.com/touched": str(time.monotonic())}}}
        await client.patch(resource, namespace, name, note)

    objects = {PODS: "before-scheduler", DASKCLUSTERS: "before"}
    async with KubeClient(from_kubeconfig(kubeconfig)) as client:
        found = await asyncio.gather(*(first(client, r, name) for r, name in objects.items()))
    return {r.plural: seconds for r, seconds in zip(objects, found, strict=True)}


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
        # What the informer waits for; without them a watch is opened anew, which costs a request.
        bookmarks = asyncio.run(seconds_to_bookmarks(kubectl.kubeconfig, kubectl.namespace))

        def is_there() -> bool:
            assert get(f"http://127.0.0.1:{port}/healthz")[0] == 200
            assert kubectl.exists("pod", "after-scheduler")
            return True

        eventually("it acts on a new cluster", is_there, timeout=150, every=1)
        print(f"noticed within {time.monotonic() - started:.0f} s; bookmarks after {bookmarks}")
        ready(kubectl, "after")
        assert pid(process) == number


def test_a_leader_stopped_in_the_middle_of_two_hundred_creates(
    kubectl: Kubectl, proxy: TcpProxy, account_kubeconfig: str, tmp_path: Path, audit: Audit
) -> None:
    proxy.delay_s = 0.15  # so that there is a middle
    slow = through(proxy, account_kubeconfig, tmp_path / "kubeconfig")
    leader = ControllerProcess(slow, tmp_path / "leader", LEASE)
    standby = ControllerProcess(account_kubeconfig, tmp_path / "standby", LEASE)
    leader.start()
    try:
        eventually("it leads", lambda: leader.leads)
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
        eventually("the standby leads", lambda: standby.leads)
        workers_become(kubectl, 201, timeout=90)
        leader.send(signal.SIGCONT)
        assert leader.process is not None
        leader.process.wait(60)
        ready(kubectl)
        eventually("all that it had sent has arrived", lambda: proxy.open == 0)
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
    proxy: TcpProxy,
    account_kubeconfig: str,
    schedulers: FakeSchedulers,
    tmp_path: Path,
    audit: Audit,
) -> None:
    """As in a rolling update: again and again in the middle of scaling."""
    proxy.delay_s = 0.15  # so that there is a middle
    slow = through(proxy, account_kubeconfig, tmp_path / "kubeconfig")
    processes = [ControllerProcess(slow, tmp_path / f"log-{n}", LEASE) for n in range(3)]

    def holder() -> str:
        lease = Kubectl(kubectl.kubeconfig, SYSTEM).get("lease", ACCOUNT)
        return str(lease["spec"]["holderIdentity"])

    processes[0].start()
    try:
        kubectl.apply(cluster(replicas=1))
        ready(kubectl)
        longest = 0.0
        # Each is stopped when some are made of those that come, when some are marked of those that go.
        steps = [(121, "create", "pods", 2 + 120), (5, "patch", "pods", 116)]
        for (old, new), (count, verb, kind, all_) in zip(
            itertools.pairwise(processes), steps, strict=True
        ):
            new.start()
            begun = Audit.now(audit.path) if verb == "patch" else audit

            def acted(begun: Audit = begun, verb: str = verb, kind: str = kind) -> int:
                return len(begun.touched(verb, kind, namespace=kubectl.namespace))

            kubectl("scale", "daskworkergroup", "demo-default", f"--replicas={count}")
            eventually("it is in the middle", lambda acted=acted: acted() >= 8, every=0.02)
            stopped, ended, lease = time.monotonic(), old.process, holder()
            at = acted()
            old.stop()
            assert at < all_, "stopped too late to show anything"
            assert ended is not None
            assert ended.returncode == 0  # else `kubectl get pods` would show an error
            assert holder() != lease  # nobody waits for the end of its term
            eventually("it leads", lambda new=new: new.leads, every=0.05)
            longest = max(longest, time.monotonic() - stopped)
            workers_become(kubectl, count, timeout=90)
        ready(kubectl)
        print(f"taken over within {longest:.1f} s after SIGTERM")
        made = audit.touched("create", "pods", namespace=kubectl.namespace)
        gone = audit.touched("delete", "pods", namespace=kubectl.namespace)
        assert len(made) == 1 + 1 + 120
        assert len(gone) == 116
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

    @property
    def token(self) -> str:
        return (self.folder / "token").read_text()

    def is_refused(self, token: str) -> bool:
        """Does the API server know by now that it has ended?"""
        host, port = server_of(self.admin.kubeconfig)
        ask = urllib.request.Request(f"https://{host}:{port}/api")
        ask.add_header("Authorization", f"Bearer {token.strip()}")
        trusted = ssl.create_default_context(cafile=str(self.folder / "ca.crt"))
        try:
            urllib.request.urlopen(ask, timeout=10, context=trusted).close()
        except urllib.error.HTTPError as error:
            if error.code != 401:
                raise
            return True
        return False

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
    kubectl: Kubectl, account: InCluster, tmp_path: Path, audit: Audit
) -> None:
    """The old one ends at once, while requests with it are under way: nobody notices, the Lease is kept."""

    def renewals() -> int:
        return len(audit.requests("patch", "leases", namespace=SYSTEM, user=USER))

    with running(account.process(tmp_path / "log", **LEASE)) as process:
        kubectl.apply(cluster("before", replicas=1))
        ready(kubectl, "before")
        number, old = pid(process), account.token
        account.rotate("second")
        account.expire("first")
        eventually("the old one is refused", lambda: account.is_refused(old))
        before = renewals()
        eventually("the Lease is renewed with the new one", lambda: renewals() >= before + 2)
        kubectl.apply(cluster("after", replicas=2))
        kubectl("wait", "daskcluster/after", "--for=condition=Ready", f"--timeout={MINUTE}s")
        assert pid(process) == number
        assert "no longer ours" not in process.text()


def refusals(audit: Audit) -> int:
    """How many requests of controllers the API server has refused for who sent them."""
    lines = audit.path.read_bytes()[audit.start :].split(b"\n")[:-1]
    return sum(
        (entry.get("responseStatus") or {}).get("code") == 401
        and entry.get("userAgent", "").startswith("dask-gitops/")
        for entry in map(json.loads, lines)
    )


def test_a_token_that_ends_before_there_is_a_new_one(
    kubectl: Kubectl, account: InCluster, tmp_path: Path, audit: Audit
) -> None:
    """It may end for the Lease's sake, as often as it must; the kubelet starts it again."""
    process = account.process(tmp_path / "log", **LEASE)
    process.start()

    def refused(more: int) -> None:
        """Until so many more of its requests were refused."""
        before = refusals(audit)

        def look() -> bool:
            process.restart_if_ended()
            return refusals(audit) >= before + more

        eventually("requests are refused", look, timeout=120)

    try:
        kubectl.apply(cluster("before", replicas=1))
        ready(kubectl, "before")
        account.expire("first")
        kubectl.apply(cluster("after", replicas=2))
        refused(3)
        kubectl("scale", "daskworkergroup", "before-default", "--replicas=3")
        refused(3)
        assert (
            len(live_workers(kubectl, "dask.org/cluster-name=before,dask.org/component=worker"))
            == 1
        )
        account.rotate("second")

        def acts() -> bool:
            process.restart_if_ended()
            selector = "dask.org/component=worker"
            assert len(live_workers(kubectl, selector)) == 5
            return True

        eventually("it acts again", acts, timeout=2 * MINUTE)
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
        said = len(process.text())
        os.kill(old, signal.SIGKILL)

        def noticed() -> bool:
            found = set(re.findall(r"WARNING +(\S+?): ", process.text()[said:]))
            assert len(found) >= 6, found
            return True

        eventually("each of its watches has found nobody", noticed)
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
        """KiB, at rest: for five looks the same."""
        looks: list[int] = []

        def rests() -> bool:
            status = Path(f"/proc/{pid(process)}/status").read_text()
            (size,) = re.findall(r"(?m)^VmRSS:\s+(\d+) kB", status)
            looks.append(int(size))
            return len(set(looks[-5:])) == 1 and len(looks) >= 5

        eventually("its memory rests", rests, timeout=120, every=1)
        return looks[-1]

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
