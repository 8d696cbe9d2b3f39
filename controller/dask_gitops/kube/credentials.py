"""Where the API server is, and how we prove who we are."""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
#: Bound tokens live an hour and are replaced in the file after 80 % of it.
TOKEN_AGE_S = 60.0


class CredentialsError(Exception):
    """No way to an API server was found; the message says what was tried."""


class Credentials(Protocol):
    """Address and identity.

    ``ssl`` goes to aiohttp: a context, or True for its default (also right for plain http).
    ``namespace`` is the default namespace of the identity.
    """

    @property
    def server(self) -> str: ...
    @property
    def ssl(self) -> ssl.SSLContext | bool: ...
    @property
    def namespace(self) -> str: ...
    @property
    def proxy(self) -> str | None: ...

    async def headers(self, *, refresh: bool = False) -> Mapping[str, str]:
        """Headers that authenticate a request; ``refresh`` after a 401 forgets what is cached."""
        ...


@dataclass(slots=True)
class StaticCredentials:
    """Credentials that never change: client certificates, a fixed token, or none at all."""

    server: str
    ssl: ssl.SSLContext | bool = True
    namespace: str = "default"
    proxy: str | None = None
    fixed: Mapping[str, str] = field(default_factory=dict)

    async def headers(self, *, refresh: bool = False) -> Mapping[str, str]:
        return self.fixed


@dataclass(slots=True)
class RefreshedCredentials:
    """Credentials whose headers are fetched anew when older than ``max_age_s`` seconds.

    ``fetch`` may block (it runs exec plugins), so it gets a thread unless ``in_thread`` is False.
    When it fails after a first success, the old headers go on: a token file that is being
    replaced, or a plugin with a hiccup, must not stop the controller while the token is valid.
    """

    server: str
    fetch: Callable[[], Mapping[str, str]]
    ssl: ssl.SSLContext | bool = True
    namespace: str = "default"
    proxy: str | None = None
    max_age_s: float = TOKEN_AGE_S
    in_thread: bool = True
    clock: Callable[[], float] = time.monotonic
    _cached: Mapping[str, str] | None = None
    _fetched_at: float = 0.0
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def headers(self, *, refresh: bool = False) -> Mapping[str, str]:
        asked_at = self.clock()
        if self._cached is not None and not refresh and self._is_fresh(asked_at):
            return self._cached
        async with self._lock:
            # Another task may have fetched while this one waited for the lock.
            if self._cached is not None and (
                self._fetched_at > asked_at or (not refresh and self._is_fresh(self.clock()))
            ):
                return self._cached
            try:
                if self.in_thread:
                    self._cached = await asyncio.to_thread(self.fetch)
                else:
                    self._cached = self.fetch()
            except Exception as error:
                if self._cached is None:
                    raise CredentialsError(f"cannot obtain a token: {error}") from error
            self._fetched_at = self.clock()
            return self._cached

    def _is_fresh(self, now: float) -> bool:
        return now - self._fetched_at < self.max_age_s


def in_cluster(
    folder: Path = SERVICE_ACCOUNT, environ: Mapping[str, str] = os.environ
) -> Credentials:
    """Credentials of the pod's ServiceAccount. Raises `CredentialsError` outside of a pod."""
    host = environ.get("KUBERNETES_SERVICE_HOST", "")
    port = environ.get("KUBERNETES_SERVICE_PORT", "") or "443"
    if not host:
        raise CredentialsError("KUBERNETES_SERVICE_HOST is not set")
    if ":" in host and not host.startswith("["):
        host = f"[{host}]"
    token_file, ca_file, namespace_file = folder / "token", folder / "ca.crt", folder / "namespace"

    def fetch() -> Mapping[str, str]:
        token = token_file.read_text().strip()
        if not token:
            raise CredentialsError(f"{token_file} is empty")
        return {"Authorization": f"Bearer {token}"}

    try:
        fetch()
        context = ssl.create_default_context(cafile=str(ca_file))
    except (OSError, CredentialsError) as error:
        raise CredentialsError(f"in-cluster credentials in {folder}: {error}") from error
    try:
        namespace = namespace_file.read_text().strip()
    except OSError:
        namespace = ""
    return RefreshedCredentials(
        server=f"https://{host}:{port}",
        fetch=fetch,
        ssl=context,
        namespace=namespace or "default",
        in_thread=False,  # one small read from tmpfs
    )


def from_kubeconfig(path: str | None = None, context: str | None = None) -> Credentials:
    """Credentials of a kubeconfig (default: ``KUBECONFIG``, else ``~/.kube/config``).

    The official loader reads it: client certificates, tokens, exec plugins and their refresh.
    """
    from kubernetes import client, config

    configuration = client.Configuration()
    try:
        config.load_kube_config(
            config_file=path,
            context=context,
            client_configuration=configuration,
            persist_config=False,
        )
        contexts, current = config.list_kube_config_contexts(config_file=path)
    except Exception as error:  # the loader raises nearly anything on a broken file
        where = path or os.environ.get("KUBECONFIG") or "~/.kube/config"
        raise CredentialsError(f"kubeconfig {where}: {error}") from error
    if context is not None:
        current = next(entry for entry in contexts if entry["name"] == context)

    def fetch() -> Mapping[str, str]:
        # Runs the loader's refresh hook: an expired exec or OIDC token is fetched anew.
        value = configuration.get_api_key_with_prefix("authorization", alias="BearerToken")
        if not value and configuration.username:
            value = configuration.get_basic_auth_token()
        return {"Authorization": value} if value else {}

    return RefreshedCredentials(
        server=str(configuration.host),
        fetch=fetch,
        ssl=_ssl_context(configuration),
        namespace=current["context"].get("namespace") or "default",
        proxy=configuration.proxy,
    )


def _ssl_context(configuration: Any) -> ssl.SSLContext | bool:
    if urlsplit(str(configuration.host)).scheme != "https":
        return True
    context = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
    if configuration.cert_file:
        context.load_cert_chain(configuration.cert_file, configuration.key_file)
    if not configuration.verify_ssl:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def load(path: str | None = None, context: str | None = None) -> Credentials:
    """In-cluster credentials when there are any, else the kubeconfig.

    A given ``path`` or ``context`` is a wish: then only the kubeconfig is tried. Raises
    `CredentialsError` with everything that was tried.
    """
    if path is not None or context is not None:
        return from_kubeconfig(path, context)
    try:
        return in_cluster()
    except CredentialsError as inside:
        try:
            return from_kubeconfig()
        except CredentialsError as outside:
            raise CredentialsError(
                f"no way to a Kubernetes API server. Tried: in-cluster ({inside}); {outside}"
            ) from outside
