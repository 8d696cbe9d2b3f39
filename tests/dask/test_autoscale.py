"""Real schedulers with real work: groups grow and shrink with it, and nothing is lost."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from tests.dask.support import NewCluster, manifest, workers
from tests.support.kubernetes import JSON, Kubectl, condition, eventually

WINDOW = 12  # of a scale-down here, seconds


def autoscaler(name: str, low: int, high: int, **spec: Any) -> JSON:
    quick = {"interval": 1, "scaleDown": {"stabilizationSeconds": WINDOW}}
    limits = {"cluster": "c", "minimum": low, "maximum": high}
    return manifest("DaskAutoscaler", name, {**limits, **quick, **spec})


def unsized(*arguments: str) -> JSON:
    """spec.worker without a number."""
    found = workers(0, *arguments)
    del found["replicas"]
    return found


def decision(kubectl: Kubectl, name: str = "c") -> str:
    return str(kubectl.get("daskautoscaler", name)["status"].get("lastDecision"))


def test_from_one_to_four_under_load_and_back(
    cluster: NewCluster, kubectl: Kubectl, record_property: Callable[[str, object], None]
) -> None:
    """What the workers hold survives; measured: how long the first new worker takes, beside a bare worker pod."""
    it = cluster({"worker": unsized()}).wait_ready()
    kubectl.apply(autoscaler("c", 1, 4))
    it.wait_pods(1)
    it.connect(1)
    before = it.inside("hold(6, 6)")
    eventually(
        "it steers",
        lambda: condition(kubectl.get("daskautoscaler", "c"), "Ready").get("status") == "True",
    )
    grown = it.inside("seconds_to_second_worker(12)")
    it.wait_pods(4)
    assert " to 4" in decision(kubectl)  # in one step or in several
    assert condition(it.get(), "Ready")["status"] == "True"
    it.inside("open_gate()")
    assert it.inside("results()") == list(range(12))
    assert set(it.inside("starts()").values()) == {1}
    it.inside("forget_running()")
    it.wait_pods(1)
    assert it.inside("hashes()") == before
    assert it.lost() == []
    # A worker pod that nobody decided about: the same pod, made by hand.
    (pod,) = it.pods().values()
    bare = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "bare"},
        "spec": {
            "restartPolicy": "Never",
            "enableServiceLinks": False,
            "containers": [
                {k: pod["spec"]["containers"][0][k] for k in ("name", "image", "args", "env")}
            ],
        },
    }
    for env in bare["spec"]["containers"][0]["env"]:  # type: ignore[index]
        if env["name"] == "DASK_WORKER_NAME":
            env["value"] = "bare"
    started = time.monotonic()
    kubectl.apply(bare)
    it.inside("wait_for_worker('bare')")
    alone = time.monotonic() - started
    kubectl("delete", "pod", "bare", "--wait=false")
    record_property(
        "closing",
        f"autoscaling: first queued task to a new worker computing {grown:.1f} s, a bare worker pod {alone:.1f} s",
    )


def test_a_gpu_group_from_nothing_and_back(cluster: NewCluster, kubectl: Kubectl) -> None:
    it = cluster({"worker": unsized()}).wait_ready()
    gpu = {**workers(0), "resources": {"GPU": 1}}
    kubectl.apply(
        manifest("DaskWorkerGroup", "gpu", {"cluster": "c", "worker": gpu}),
        autoscaler("c", 1, 3),
        autoscaler("gpu", 0, 3, workerGroup="gpu"),
    )
    cpus = it.wait_pods(1)
    it.connect(1)
    assert it.inside("on_gpus(4)") == ["gpu"]
    assert it.inside("gpu_workers()") >= 1
    assert it.uids() == cpus
    assert "that need GPU queued for" in decision(kubectl, "gpu")
    it.wait_pods(0, "gpu")
    assert it.uids() == cpus
    assert it.inside("gpu_results()") == 4  # held, and now by the other group
    assert it.lost() == []


def test_load_on_and_off(
    cluster: NewCluster, kubectl: Kubectl, record_property: Callable[[str, object], None]
) -> None:
    """30 s on, 30 s off, 30 s on."""
    peak, half = 3, 30
    it = cluster({"worker": unsized()}).wait_ready()
    kubectl.apply(autoscaler("c", 1, peak))
    it.wait_pods(1)
    it.connect(1)
    counts: list[tuple[float, int]] = []
    numbers: list[int] = []

    def watch(until: Callable[[], bool]) -> None:
        while not until():
            group = kubectl.get("daskworkergroup", it.default_group)
            number = group["spec"]["worker"]["replicas"]
            if not numbers or numbers[-1] != number:
                numbers.append(number)
            counts.append((time.monotonic(), len(it.pods())))
            time.sleep(0.5)

    begin = time.monotonic()

    def at(seconds: float) -> Callable[[], bool]:
        return lambda: time.monotonic() >= begin + seconds

    for turn in (0, 2):
        watch(at(turn * half))
        it.inside(f"load_for({half}, {peak})")
        watch(at((turn + 1) * half))
    end = time.monotonic()
    watch(lambda: len(it.pods()) == 1 or time.monotonic() > end + WINDOW + 60)
    back = time.monotonic() - end
    spent = sum(n * (b - a) for (a, n), (b, _) in pairwise(counts))
    downs = [b for a, b in pairwise(numbers) if b < a]
    span = 3 * half
    record_property(
        "closing",
        f"autoscaling: 90 s of load on and off: {len(downs)} scale-downs, back after {back:.0f} s, "
        f"{spent / (peak * span):.2f} times peak x span",
    )
    assert max(n for _, n in counts) == peak
    assert len(downs) <= 2, numbers
    assert len(it.pods()) == 1
    assert spent <= 1.2 * peak * span
    assert it.lost() == []
