"""Which Kubernetes, and as who."""

from __future__ import annotations

import os
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from dask_gitops.client import refusals
from dask_gitops.client.errors import NoKubernetesError
from dask_gitops.kube import (
    Credentials,
    CredentialsError,
    KubeError,
    from_kubeconfig,
    in_cluster,
    kubeconfig,
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Access:
    """:ivar inside: as the ServiceAccount of the Pod that we run in.
    :ivar context: of the kubeconfig, for messages; "" for none.
    :ivar where: the kubeconfig's file and context, for messages.
    """

    credentials: Credentials
    inside: bool = False
    context: str = ""
    where: str = "in a Pod"

    @property
    def namespace(self) -> str:
        return self.credentials.namespace

    def refusal(self, error: Exception) -> Exception:
        """The error that a user gets for one of `dask_gitops.kube`; itself where there is nothing to add."""
        if refusals.is_unknown_kind(error):
            return refusals.unknown_kind(self.context)
        return refusals.refusal(
            error,
            server=self.credentials.server,
            where=self.where,
            context=self.context,
            in_container=_in_container(),
        )

    async def told(self, work: Coroutine[Any, Any, T]) -> T:
        """Its result; what Kubernetes refuses is raised as an error that says what to do."""
        try:
            return await work
        except (KubeError, CredentialsError) as error:
            told = self.refusal(error)
            if told is error:
                told = refusals.of_action(error)
            if told is error:
                raise
            raise told from error


def access(file: str | None = None, context: str | None = None) -> Access:
    """The Pod's ServiceAccount, unless a kubeconfig or its context is named; else the kubeconfig.

    :raises NoKubernetesError: there is neither, or what there is cannot be read.
    """
    if file is None and context is None:
        try:
            return Access(in_cluster(), inside=True)
        except CredentialsError as error:
            if "is not set" not in str(error):
                raise NoKubernetesError(f"no way to Kubernetes: {error}") from None
    if file is None and (missing := _missing(os.environ)):
        raise NoKubernetesError(
            f"no way to Kubernetes: not in a Pod, and {missing} does not exist. "
            "Set KUBECONFIG, or pass kubeconfig="
        )
    try:
        way = kubeconfig.read(file, context)
        found = from_kubeconfig(file, context)
    except CredentialsError as error:
        raise NoKubernetesError(f"no way to Kubernetes: {error}") from None
    return Access(found, context=way.context, where=way.where)


def _missing(environ: Mapping[str, str]) -> str:
    """The kubeconfig that kubectl would read, where it does not exist; else ""."""
    told = [one for one in environ.get("KUBECONFIG", "").split(os.pathsep) if one]
    if told:
        return "" if any(Path(one).exists() for one in told) else ", ".join(told)
    home = environ.get("HOME") or environ.get("USERPROFILE") or os.path.expanduser("~")
    return "" if (Path(home) / ".kube/config").exists() else "~/.kube/config"


def _in_container() -> bool:
    return (
        any(Path(mark).exists() for mark in ("/.dockerenv", "/run/.containerenv"))
        or "KUBERNETES_SERVICE_HOST" in os.environ
    )
