"""Which clusters there are, for what asks by the entry point ``dask_cluster_discovery``."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

from dask_gitops.kube import DASKCLUSTERS, ApiError, CredentialsError, KubeClient, KubeError, load

log = logging.getLogger(__name__)


async def discover() -> AsyncIterator[tuple[str, type[Any]]]:
    """Each DaskCluster that the present credentials may see: what ``from_name`` finds it by, and the class.

    Those of the credentials' own namespace by name, others as ``namespace/name``; who may not list
    all namespaces sees the own one. None where there is no way to Kubernetes.
    """
    from dask_gitops import KubeCluster

    try:
        credentials = await asyncio.to_thread(load)  # a login plugin may take its time
        async with KubeClient(credentials) as api:
            found = await _clusters(api, credentials.namespace)
    except (CredentialsError, KubeError) as error:
        log.debug("no clusters can be listed: %s", error)
        return
    for name in found:
        yield name, KubeCluster


async def _clusters(api: KubeClient, own: str) -> list[str]:
    try:
        page = await api.list(DASKCLUSTERS)
    except ApiError as error:
        if error.status != 403:
            raise
        page = await api.list(DASKCLUSTERS, own)
    metas = [item["metadata"] for item in page.items]
    return [
        meta["name"] if meta["namespace"] == own else f"{meta['namespace']}/{meta['name']}"
        for meta in metas
    ]
