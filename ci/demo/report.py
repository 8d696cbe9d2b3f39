"""What a person needs to see after a failure: what is there, what happened, what was logged."""

from __future__ import annotations

from ci.demo.kube import JSON, Kube
from ci.demo.shell import Problem
from ci.demo.steps import say

CONTROLLER = "app.kubernetes.io/component=controller"
DASK = "dask.org/component"


def show(kube: Kube) -> None:
    """Pods, their Events and logs, as far as they can be had."""
    section("what there is", kube, "get", "daskcluster,daskworkergroup,pods", "-o", "wide")
    events = ("--sort-by=.lastTimestamp", "-o", "custom-columns=" + ",".join(EVENT_COLUMNS))
    section("the last events", kube, "get", "events", *events, lines=20)
    for pod in unready(kube):
        section(f"pod {pod}", kube, "describe", "pod", pod, lines=25)
        section(f"log of {pod}", kube, "logs", pod, "--all-containers", "--tail=15")
    section("log of the controller", kube, "logs", "-l", CONTROLLER, "--tail=25")
    scheduler = f"{DASK}=scheduler"
    section("log of the scheduler", kube, "logs", "-l", scheduler, "--tail=15")


EVENT_COLUMNS = (
    "TYPE:.type",
    "REASON:.reason",
    "OBJECT:.involvedObject.name",
    "MESSAGE:.message",
)


def section(title: str, kube: Kube, *words: str, lines: int = 40) -> None:
    """The end of what a command prints; nothing if it fails or prints nothing."""
    try:
        text = kube.kubectl(*words, timeout=30).rstrip()
    except Problem:
        return
    if text:
        say(f"\n--- {title}")
        for line in text.splitlines()[-lines:]:
            say(f"    {line[:240]}")


def unready(kube: Kube) -> list[str]:
    """Names of the pods that are not ready."""
    try:
        pods = kube.objects("pods")
    except Problem:
        return []
    return [pod["metadata"]["name"] for pod in pods if not pod_ready(pod)]


def pod_ready(pod: JSON) -> bool:
    """Does the pod serve?"""
    conditions = pod["status"].get("conditions") or []
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
