"""The way of commands to a Kubernetes: credentials, a client, one event loop for as long as a command runs."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, TypeVar

from dask_gitops.client import names, who
from dask_gitops.client.access import Access, access
from dask_gitops.client.arguments import CreateMode
from dask_gitops.client.session import Session
from dask_gitops.client.settings import configured
from dask_gitops.client.ways import Plan
from dask_gitops.kube import Credentials, KubeClient

from .options import Unusable, Where

T = TypeVar("T")


def run(work: Coroutine[Any, Any, T]) -> T:
    """Its result; Ctrl-C cancels it, and raises when it has cleaned up."""
    return asyncio.run(work)


def connect(credentials: Credentials) -> KubeClient:
    return KubeClient(credentials, user_agent="dask-gitops-command")


def reached(where: Where) -> Access:
    """:raises NoKubernetesError: there is no way."""
    file = where.kubeconfig
    return access(None if file is None else os.path.expanduser(file), where.context)


def namespace_of(where: Where, there: Access) -> str:
    """As for `KubeCluster`: what is said, what is configured, what the credentials name."""
    return str(where.namespace or configured().get("namespace") or there.namespace)


def split(name: str, where: Where) -> tuple[str, Where]:
    """A cluster's name, and where it is: ``namespace/name`` says both.

    :raises Unusable: it can be none.
    """
    namespace, slash, short = name.rpartition("/")
    if slash and not names.is_namespace(namespace):
        raise Unusable(names.namespace_refusal(namespace))
    if slash and where.namespace and where.namespace != namespace:
        raise Unusable(f"{name!r} names another namespace than --namespace {where.namespace}")
    if not names.is_name(short):
        raise Unusable(names.refusal(short))
    return short, Where(namespace or where.namespace, where.context, where.kubeconfig)


@contextlib.asynccontextmanager
async def client(there: Access) -> AsyncIterator[KubeClient]:
    """:raises CredentialsError: who we are cannot be found out."""
    await there.credentials.headers()
    api = connect(there.credentials)
    try:
        yield api
    finally:
        await api.close()


@contextlib.asynccontextmanager
async def session(
    name: str,
    where: Where,
    *,
    forward: bool = False,
    port: int = 0,
    show: Callable[[str, float], None] = lambda line, seconds: None,
) -> AsyncIterator[Session]:
    """One for the cluster of that name, neither found nor reached yet; it lets go at the end.

    :param forward: ports, also where something else leads to the scheduler.
    :param port: of this machine, for the dashboard; 0: any.
    :raises NoKubernetesError, Unusable: see above.
    """
    short, where = split(name, where)
    there = reached(where)
    one = Session(
        there,
        namespace_of(where, there),
        short,
        None,
        CreateMode.CONNECT_ONLY,
        60.0,
        # What needs a port of this machine is there, in a Pod without the right to forward one.
        Plan(
            there.inside,
            True if forward or (port and not there.inside) else None,
            dashboard_port=port,
            relay=True,
        ),
        who.created_by(),
        show,
        connect=connect,
    )
    try:
        yield one
    finally:
        await one.close(delete=False)
