"""The thin shell of the doctor: asks for each fact, and notes why one cannot be found out."""

from __future__ import annotations

import asyncio
import importlib.metadata
import platform
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, TypeVar

from dask_gitops.cli import reach, shell
from dask_gitops.cli.doctor.facts import JSON, NOBODY, Facts, Missing, Versions
from dask_gitops.cli.options import Where
from dask_gitops.cli.published import ours
from dask_gitops.client.access import Access
from dask_gitops.client.background import first_of
from dask_gitops.client.errors import ClusterNotFoundError, DaskGitopsError, NotAllowedError
from dask_gitops.client.names import is_name
from dask_gitops.client.refusals import no_cluster
from dask_gitops.kube import (
    DASKCLUSTERS,
    DASKWORKERGROUPS,
    DEPLOYMENTS,
    PODS,
    SELF_SUBJECT_ACCESS_REVIEWS,
    SELF_SUBJECT_REVIEWS,
    SERVICES,
    ApiError,
    Credentials,
    CredentialsError,
    KubeClient,
    KubeError,
)
from dask_gitops.kube.resource import NETWORKPOLICIES, RESOURCEQUOTAS, Resource
from dask_gitops.resources import labels, names
from dask_gitops.text import printable

T = TypeVar("T")
OURS = "app.kubernetes.io/name=dask-gitops,app.kubernetes.io/component=controller"
THEIRS = "app.kubernetes.io/name=dask-kubernetes-operator"
OPENAPI = "/openapi/v3/apis/kubernetes.dask.org/v1"
#: So long a scheduler may take to be reached, and to answer.
REACH_S = 20.0
WORDS = 400
#: What the client does: (verb, group, resource).
USED = (
    *(
        (verb, "kubernetes.dask.org", kind)
        for kind in ("daskclusters", "daskworkergroups", "daskautoscalers")
        for verb in ("list", "watch", "create", "patch", "delete")
    ),
    ("patch", "kubernetes.dask.org", "daskworkergroups/scale"),
    *((verb, "", kind) for kind in ("pods", "services", "events") for verb in ("list", "watch")),
    ("get", "", "pods/log"),
)
#: The same, where no Service leads to a scheduler.
USED_OUTSIDE = (("get", "", "pods/portforward"), ("create", "", "pods/portforward"))


async def facts(where: Where, name: str | None, namespace: str, there: Access | Missing) -> Facts:
    """All of them.

    :param there: how Kubernetes is reached, or why not.
    :raises ClusterNotFoundError: there is no cluster of that name.
    """
    if isinstance(there, Missing):
        return Facts(namespace, name, time.time(), who=there)
    server, verified = there.credentials.server, _is_verified(there.credentials)
    try:
        async with shell.client(there) as api:
            who = await _fact(there, _who(api))
            if isinstance(who, Missing):
                return Facts(namespace, name, time.time(), server, verified, who=who)
            return await _all(where, name, namespace, there, api, who)
    except CredentialsError as error:
        return Facts(namespace, name, time.time(), server, verified, who=_missing(there, error))


async def _all(
    where: Where, name: str | None, namespace: str, there: Access, api: KubeClient, who: str
) -> Facts:
    async def of(kind: Resource, selector: str | None = None) -> list[JSON] | Missing:
        return await _fact(there, _items(api, kind, namespace, selector))

    about, lacking, deployments, operators, clusters, rights = await asyncio.gather(
        _fact(there, api.about("/version")),
        _fact(there, _lacking(api)),
        _fact(there, _deployments(api, OURS)),
        _fact(there, _deployments(api, THEIRS)),
        of(DASKCLUSTERS),
        _fact(there, _rights(api, namespace, there.inside)),
    )
    if name is not None and not isinstance(clusters, Missing):
        known = [each["metadata"]["name"] for each in clusters]
        if name not in known:
            raise no_cluster(name, namespace, known)
    of_it = f"{labels.CLUSTER}={name}" if name else labels.CLUSTER
    groups, pods, services, quotas, policies = await asyncio.gather(
        of(DASKWORKERGROUPS), of(PODS, of_it), of(SERVICES, of_it), of(RESOURCEQUOTAS), of(NETWORKPOLICIES)
    )  # fmt: skip
    version: str | Missing = NOBODY
    skew: float | Missing = NOBODY
    if isinstance(about, Missing):
        version = skew = about
    else:
        told, clock = about
        version = str(told.get("gitVersion") or "")
        skew = (
            Missing("the server does not tell its time") if clock is None else clock - time.time()
        )
    dns, reached, versions = await _scheduler(where, name, namespace, there)
    return Facts(
        namespace,
        name,
        time.time(),
        there.credentials.server,
        _is_verified(there.credentials),
        who,
        version,
        skew,
        lacking,
        deployments,
        operators
        if isinstance(operators, Missing)
        else [f"{o['metadata']['namespace']}/{o['metadata']['name']}" for o in operators],
        clusters,
        groups,
        pods,
        services,
        quotas,
        policies,
        rights,
        dns,
        reached,
        versions,
    )


async def _fact(there: Access, work: Awaitable[T]) -> T | Missing:
    """It, or why it is missing."""
    try:
        return await work
    except (KubeError, CredentialsError, DaskGitopsError) as error:
        return _missing(there, error)


def _missing(there: Access, error: Exception) -> Missing:
    return Missing(str(there.refusal(error)))


def _is_verified(credentials: Credentials) -> bool:
    """Does somebody look at the server's certificate?"""
    context = credentials.ssl
    if isinstance(context, ssl.SSLContext):
        return context.verify_mode is not ssl.CERT_NONE
    return bool(context)


async def _items(
    api: KubeClient, kind: Resource, namespace: str | None, selector: str | None
) -> list[JSON]:
    return (await api.list(kind, namespace, label_selector=selector)).items


async def _deployments(api: KubeClient, selector: str) -> list[JSON]:
    """:raises NotAllowedError: few may look into all namespaces."""
    try:
        return await _items(api, DEPLOYMENTS, None, selector)
    except ApiError as error:
        if error.status != 403:
            raise
        raise NotAllowedError("we may not list Deployments of all namespaces") from error


async def _who(api: KubeClient) -> str:
    try:
        status = await api.review(SELF_SUBJECT_REVIEWS)
    except ApiError as error:
        if error.status in (401, 403):
            raise
        return "somebody"  # before Kubernetes 1.28 nobody could ask
    return str((status.get("userInfo") or {}).get("username") or "nobody")


async def _rights(api: KubeClient, namespace: str, inside: bool) -> Mapping[str, bool]:
    async def may(verb: str, group: str, what: str) -> tuple[str, bool]:
        resource, _, subresource = what.partition("/")
        asked = {"namespace": namespace, "verb": verb, "group": group, "resource": resource}
        if subresource:
            asked["subresource"] = subresource
        status = await api.review(SELF_SUBJECT_ACCESS_REVIEWS, {"resourceAttributes": asked})
        return f"{verb} {what}", bool(status.get("allowed"))

    used = USED if inside else (*USED, *USED_OUTSIDE)
    return dict(await asyncio.gather(*(may(*each) for each in used)))


async def _lacking(api: KubeClient) -> list[str]:
    """Fields that the server's definitions do not have; ``["DaskCluster"]``: it has none of them."""
    try:
        told, _ = await api.about(OPENAPI)
    except ApiError as error:
        if error.status != 404:
            raise
        return [DASKCLUSTERS.kind]
    return lacking((told.get("components") or {}).get("schemas") or {})


def lacking(schemas: Mapping[str, JSON]) -> list[str]:
    """The same of the OpenAPI schemas that a server gives."""
    theirs = {}
    for schema in schemas.values():
        for kind in schema.get("x-kubernetes-group-version-kind") or ():
            theirs[kind.get("kind")] = schema
    if DASKCLUSTERS.kind not in theirs:
        return [DASKCLUSTERS.kind]
    found = []
    for kind, schema in ours().items():
        spec = (theirs.get(kind, {}).get("properties") or {}).get("spec") or {}
        wanted = (schema.get("properties") or {}).get("spec") or {}
        found += [f"{kind} spec{path}" for path in _more(wanted, spec)]
    return found


def _more(wanted: JSON, there: JSON) -> Iterator[str]:
    """Paths of fields that the one has and the other has not; below one that is missing nothing more is told."""
    known = there.get("properties") or {}
    if there.get("x-kubernetes-preserve-unknown-fields"):
        return
    for name, inner in (wanted.get("properties") or {}).items():
        if name not in known:
            yield f".{name}"
        else:
            for path in _more(inner, known[name]):
                yield f".{name}{path}"
    if "items" in wanted and "items" in there:
        yield from (f"[]{path}" for path in _more(wanted["items"], there["items"]))


# ---- the scheduler


async def _scheduler(
    where: Where, name: str | None, namespace: str, there: Access
) -> tuple[str | Missing, str | Missing, Versions | Missing]:
    """Has its Service an address here, does a forwarded port lead to it, and what does it run?"""
    if name is None or not is_name(name):
        none = Missing("name a cluster")
        return none, none, none
    dns: str | Missing = Missing("its name has an address in Pods only")
    if there.inside:
        dns = await _resolved(f"{names.scheduler_name(name)}.{namespace}.svc")
    versions: Versions | Missing = Missing("the scheduler is not reached")
    where = Where(namespace, where.context, where.kubeconfig)
    said: list[str] = []
    try:
        async with asyncio.timeout(REACH_S):
            async with shell.session(
                name, where, forward=not there.inside, show=lambda line, seconds: said.append(line)
            ) as session:
                await session.start()
                try:
                    work = first_of(reach.answers(session), session.failure())
                    await session.access.told(work)
                except asyncio.CancelledError:
                    said.append(session.way.heard or said[-1])
                    raise
                versions = await _versions(session.way.address)
                reached = Missing("in a Pod none is needed") if there.inside else ""
                return dns, reached, versions
    except ClusterNotFoundError:
        raise
    except TimeoutError:
        last = printable(said[-1], WORDS) if said else "nothing was heard"
        why = f"not within {REACH_S:.0f} s: {last}"
        return dns, why, versions
    except (KubeError, CredentialsError, DaskGitopsError, OSError) as error:
        return dns, str(error).partition("\n")[0], versions


async def _resolved(host: str) -> str:
    try:
        await asyncio.get_running_loop().getaddrinfo(host, None)
    except socket.gaierror as error:
        return f"{host}: {error.strerror}"
    return ""


async def _versions(address: str, connect: Callable[..., Any] | None = None) -> Versions | Missing:
    """Of this process, the scheduler at an address, and its workers."""
    from distributed.core import rpc

    here = (importlib.metadata.version("dask"), platform.python_version())
    try:
        async with asyncio.timeout(REACH_S / 2), rpc(address) as scheduler:
            theirs = _pair(await scheduler.versions())
            of_workers = await scheduler.broadcast(msg={"op": "versions"}, on_error="return")
    except Exception as error:  # whatever another version of Dask answers with
        return Missing(f"the scheduler does not tell: {type(error).__name__}: {error}")
    workers = {
        str(name): _pair(told) for name, told in of_workers.items() if isinstance(told, Mapping)
    }
    return Versions(here, theirs, workers)


def _pair(told: Mapping[str, Any]) -> tuple[str, str]:
    packages, host = told.get("packages") or {}, told.get("host") or {}
    python = str(dict(host).get("python") or "")
    return str(packages.get("dask") or ""), ".".join(python.split(".")[:3])
