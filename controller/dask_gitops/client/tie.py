"""A cluster that goes with the Pod that we run in, however that ends."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from dask_gitops.kube import PODS, KubeError
from dask_gitops.kube.client import Api

JSON = dict[str, Any]


async def owner(
    api: Api, namespace: str, server: str, environ: Mapping[str, str] = os.environ
) -> JSON | None:
    """An ownerReference to our Pod; None: we run in none, or in another namespace, or may not read it.

    A host's name may be that of another Pod: it is taken only if its address is ours.
    """
    name = environ.get("POD_NAME") or socket.gethostname()
    try:
        pod = await api.get(PODS, namespace, name)
    except (KubeError, ValueError):
        return None
    status = pod.get("status") or {}
    addresses = {each.get("ip") for each in status.get("podIPs") or ()} | {status.get("podIP")}
    if own_address(server) not in addresses:
        return None
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "name": name,
        "uid": pod["metadata"]["uid"],
        "controller": False,
        "blockOwnerDeletion": False,
    }


def own_address(server: str) -> str:
    """By which address this machine goes to the server; "" where it goes nowhere. Nothing is sent."""
    url = urlsplit(server)
    family = socket.AF_INET6 if ":" in (url.hostname or "") else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as looked:
            looked.connect((url.hostname, url.port or 443))
            return str(looked.getsockname()[0])
    except OSError:
        return ""
