"""Kubernetes Events: one for each decision, so that ``kubectl describe`` tells the story."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from dask_gitops.text import printable

JSON = dict[str, Any]

COMPONENT = "dask-gitops"


def event(
    *,
    kind: str,
    namespace: str,
    name: str,
    uid: str,
    reason: str,
    message: str,
    warning: bool,
    now: float,
    unique: str,
) -> JSON:
    """An Event about a custom resource, ready to be created.

    :param now: seconds since the epoch.
    :param unique: what tells this Event's name from others'.
    """
    time = datetime.fromtimestamp(now, UTC)
    seconds = time.strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{name}.{unique}", "namespace": namespace},
        "involvedObject": {
            "apiVersion": "kubernetes.dask.org/v1",
            "kind": kind,
            "namespace": namespace,
            "name": name,
            "uid": uid,
        },
        "reason": reason,
        "message": printable(message, 1024),
        "type": "Warning" if warning else "Normal",
        "source": {"component": COMPONENT},
        "reportingComponent": COMPONENT,
        "firstTimestamp": seconds,
        "lastTimestamp": seconds,
        "count": 1,
    }
