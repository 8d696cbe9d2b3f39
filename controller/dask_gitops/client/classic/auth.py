"""``auth=[InCluster(), KubeConfig(...)]``: which Kubernetes, as the classic KubeCluster was told.

Objects of ``dask_kubernetes`` itself are taken, too.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from dask_gitops.client.errors import NoKubernetesError
from dask_gitops.kube import CredentialsError, kubeconfig

JSON = dict[str, Any]


class ClusterAuth:
    """Base of the ways to say it."""


class InCluster(ClusterAuth):
    """As the ServiceAccount of the Pod that we run in."""


class KubeConfig(ClusterAuth):
    """As a kubeconfig says.

    :param config_file: None: as kubectl finds it.
    :param context: None: the current one.
    :param persist_config: says nothing here: the file is never written.
    """

    def __init__(
        self,
        config_file: str | None = None,
        context: str | None = None,
        persist_config: bool = True,
    ) -> None:
        self.config_file = config_file
        self.context = context
        self.persist_config = persist_config


class KubeAuth(ClusterAuth):
    """A server with name and password: only to say that a kubeconfig has to say them.

    :raises ValueError: always.
    """

    def __init__(self, host: str, **more: Any) -> None:
        raise ValueError(
            f"KubeAuth({host!r}) is not carried over: write a kubeconfig, and pass kubeconfig="
        )


def way(auth: Any, environ: Mapping[str, str] = os.environ) -> JSON:
    """The first that can be used, as the arguments ``kubeconfig`` and ``context``.

    :param auth: one, or a list of them; None: the Pod's ServiceAccount, else the kubeconfig.
    :raises TypeError, ValueError: it is something else.
    :raises NoKubernetesError: none of them can be used.
    """
    if auth is None:
        return {}
    each = list(auth) if isinstance(auth, list | tuple) else [auth]
    if not each:
        raise ValueError("auth is empty; write [InCluster(), KubeConfig()], or leave it out")
    why = []
    for one in each:
        kind = type(one).__name__
        try:
            if kind == "InCluster":
                return _in_cluster(environ)
            if kind == "KubeConfig":
                return _kubeconfig(one, environ)
        except CredentialsError as error:
            why.append(f"{kind}: {error}")
            continue
        raise TypeError(f"auth has {one!r}; use InCluster() or KubeConfig()")
    raise NoKubernetesError(f"no way to Kubernetes: {'; '.join(why)}")


def _is_inside(environ: Mapping[str, str]) -> bool:
    return bool(environ.get("KUBERNETES_SERVICE_HOST"))


def _in_cluster(environ: Mapping[str, str]) -> JSON:
    if not _is_inside(environ):
        raise CredentialsError("not in a Pod")
    return {}


def _kubeconfig(one: Any, environ: Mapping[str, str]) -> JSON:
    file, context = getattr(one, "config_file", None), getattr(one, "context", None)
    file = None if file is None else os.path.expanduser(str(file))
    found = kubeconfig.read(file, context, environ)
    if file is None and context is None and _is_inside(environ):
        context = found.context  # nothing said would mean the Pod's own ServiceAccount
    return {key: value for key, value in (("kubeconfig", file), ("context", context)) if value}
