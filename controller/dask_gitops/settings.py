"""Settings of the controller, from environment variables that the chart sets."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field

DEFAULT_DASK_IMAGE = "ghcr.io/dask/dask:2026.8.0"


class SettingsError(Exception):
    """A setting cannot be used; the message names the variable and what to do."""


@dataclass(frozen=True, slots=True)
class WorkerLimits:
    """Up to how many worker Pods the controller makes: of one worker group, one cluster, one namespace, and in all."""

    group: int = 5_000
    cluster: int = 10_000
    namespace: int = 20_000
    controller: int = 50_000


@dataclass(frozen=True, slots=True)
class Settings:
    """:ivar namespaces: the namespaces to serve; empty: all.
    :ivar reserved: further domains whose labels and annotations are not handed on to pods.
    :ivar lease_namespace: where the Lease lives; None: run without one (a single process for development).
    """

    namespaces: tuple[str, ...] = ()
    dask_image: str = DEFAULT_DASK_IMAGE
    reserved: tuple[str, ...] = ()
    port: int = 8080
    log_format: str = "text"
    log_level: str = "INFO"
    lease_namespace: str | None = None
    lease_name: str = "dask-gitops-controller"
    identity: str = ""
    limits: WorkerLimits = field(default_factory=WorkerLimits)

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ) -> Settings:
        """:raises SettingsError: naming the variable."""

        def words(name: str) -> tuple[str, ...]:
            return tuple(word.strip() for word in env.get(name, "").split(",") if word.strip())

        def limit(name: str, default: int) -> int:
            text = env.get(name, "")
            if not text.strip():
                return default
            if not re.fullmatch("[1-9][0-9]{0,8}", text):
                raise SettingsError(f"{name} is {text[:40]!r}; use a number from 1 to 999999999")
            return int(text)

        log_format = env.get("DASK_GITOPS_LOG_FORMAT") or "text"
        if log_format not in ("text", "json"):
            raise SettingsError(f"DASK_GITOPS_LOG_FORMAT is {log_format!r}; use text or json")
        log_level = (env.get("DASK_GITOPS_LOG_LEVEL") or "INFO").upper()
        if log_level not in ("DEBUG", "INFO", "WARNING", "ERROR"):
            raise SettingsError(
                f"DASK_GITOPS_LOG_LEVEL is {log_level!r}; use DEBUG, INFO, WARNING or ERROR"
            )
        most = WorkerLimits()
        port = env.get("DASK_GITOPS_PORT") or "8080"
        if not port.isdecimal() or int(port) > 65535:
            raise SettingsError(
                f"DASK_GITOPS_PORT is {port!r}; use a number from 0 (any free port) to 65535"
            )
        return cls(
            namespaces=words("DASK_GITOPS_NAMESPACES"),
            dask_image=env.get("DASK_GITOPS_DASK_IMAGE") or DEFAULT_DASK_IMAGE,
            reserved=words("DASK_GITOPS_RESERVED_METADATA"),
            port=int(port),
            log_format=log_format,
            log_level=log_level,
            lease_namespace=env.get("DASK_GITOPS_LEASE_NAMESPACE") or None,
            lease_name=env.get("DASK_GITOPS_LEASE_NAME") or "dask-gitops-controller",
            identity=env.get("DASK_GITOPS_IDENTITY") or socket.gethostname(),
            limits=WorkerLimits(
                limit("DASK_GITOPS_WORKERS_PER_GROUP", most.group),
                limit("DASK_GITOPS_WORKERS_PER_CLUSTER", most.cluster),
                limit("DASK_GITOPS_WORKERS_PER_NAMESPACE", most.namespace),
                limit("DASK_GITOPS_WORKERS", most.controller),
            ),
        )
