"""Pure: what Kubernetes says no with, as an error that says what to do."""

from __future__ import annotations

import re
from collections.abc import Iterable

from dask_gitops.client.errors import (
    ClusterNotFoundError,
    CustomResourcesMissingError,
    NoKubernetesError,
    NotAllowedError,
    SchedulerStartupError,
    ValidationError,
    WorkerGroupNotFoundError,
)
from dask_gitops.kube import ApiError, ApiUnreachable, CredentialsError

_FORBIDDEN = re.compile(
    r'User "(?P<user>[^"]*)" cannot (?P<verb>\w+) resource "(?P<what>[^"]+)" in API group "[^"]*"'
    r'(?: in the namespace "(?P<namespace>[^"]*)")?'
)
_NO_NAMESPACE = re.compile(r'namespaces? "([^"]*)" not found')
_LOOPBACK = re.compile(r"https?://(127\.[0-9.]+|localhost|\[::1\])(:|/|$)")


def refusal(
    error: Exception, *, server: str, where: str, context: str = "", in_container: bool = False
) -> Exception:
    """The error that a user gets for one of `dask_gitops.kube`; itself where there is nothing to add.

    :param where: the kubeconfig's file and context, or ``in a Pod``.
    :param in_container: do we run in one?
    """
    if isinstance(error, CredentialsError):
        return NoKubernetesError(f"no way to Kubernetes: {where}: {error}")
    if isinstance(error, ApiUnreachable):
        words = str(error)
        if in_container and _LOOPBACK.match(server) and _refused(words):
            return NoKubernetesError(
                f"{server} refused the connection: inside a container that is the container itself; "
                "put the machine's address into the kubeconfig"
            )
        return NoKubernetesError(f"{server} ({where}): {words}")
    if not isinstance(error, ApiError):
        return error
    if error.status == 401:
        return NotAllowedError(
            f"{server} ({where}) does not accept who we say we are: {error.message or 'Unauthorized'}"
        )
    if error.status == 403 and (match := _FORBIDDEN.search(error.message)):
        return NotAllowedError(_not_allowed(match))
    return error


def of_create(error: Exception) -> Exception:
    """The same for the create of a DaskCluster, of what `refusal` has nothing to say of."""
    if isinstance(error, ApiError) and (match := _NO_NAMESPACE.fullmatch(error.message)):
        return SchedulerStartupError(
            f"Scheduler failed to start. There is no namespace {match[1]!r}; "
            f"kubectl create namespace {match[1]}, or use namespace="
        )
    if isinstance(error, ApiError) and error.status in (400, 403, 422):
        return SchedulerStartupError(f"Scheduler failed to start. {error.message}")
    return error


def of_action(error: Exception) -> Exception:
    """The same for what a user asks of a cluster."""
    if isinstance(error, ApiError) and error.status in (400, 422):
        return ValidationError(error.message)
    if isinstance(error, ApiError) and error.status == 403:
        return NotAllowedError(error.message)
    return error


def no_cluster(name: str, namespace: str, there: Iterable[str] | None) -> ClusterNotFoundError:
    """There is no cluster of that name.

    :param there: the names that there are; None: nobody knows.
    """
    words = f"no DaskCluster {name!r} in {namespace!r}"
    if there is not None:
        words += f"; there are: {', '.join(sorted(there)) or 'none'}"
    return ClusterNotFoundError(words)


def no_group(name: str, group: str, there: Iterable[str]) -> WorkerGroupNotFoundError:
    """The cluster has no such worker group, but these."""
    known = sorted(there, key=lambda each: (each != "default", each))
    return WorkerGroupNotFoundError(
        f"cluster {name} has no worker group {group!r}; it has: {', '.join(known) or 'none'}"
    )


def unknown_kind(context: str) -> CustomResourcesMissingError:
    """The server does not know DaskCluster."""
    of = f", context {context!r}" if context else ""
    return CustomResourcesMissingError(
        f"this Kubernetes does not know DaskCluster: install the chart first (helm install ...){of}"
    )


def unknown_field(field: str) -> CustomResourcesMissingError:
    """The server knows an older DaskCluster."""
    return CustomResourcesMissingError(
        f"DaskCluster here has no field {field}: its definitions are older than this client; "
        "helm show crds ... | kubectl apply --server-side -f -"
    )


def is_unknown_kind(error: Exception) -> bool:
    """Does the server not know the resource at all? An object that is missing has a reason."""
    return (isinstance(error, ApiError) and error.status == 404 and error.reason != "NotFound") or (
        isinstance(error, ApiError)
        and error.status == 404
        and "could not find the requested resource" in error.message
    )


def _not_allowed(match: re.Match[str]) -> str:
    user, verb, what, namespace = match.group("user", "verb", "what", "namespace")
    if what == "pods/portforward":
        return (
            f"user {user!r} may not get/create pods/portforward in {namespace!r}; without it use "
            "scheduler_service_type='LoadBalancer' or work in a Pod there"
        )
    if namespace is None:
        return f"user {user!r} may not {verb} {what} in all namespaces; name one"
    return (
        f"user {user!r} may not {verb} {what} in namespace {namespace!r}; ask for the role 'edit' "
        "there, or use namespace="
    )


def _refused(words: str) -> bool:
    return "refused" in words or "Connect call failed" in words
