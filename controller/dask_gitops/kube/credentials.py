"""Where the API server is, and how we prove who we are."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
#: Bound tokens live an hour and are replaced in the file after 80 % of it.
TOKEN_AGE_S = 60.0
#: So long after a fetch that failed the next one begins, and twice as long after each more, up to the second.
RETRY_S = 1.0, 30.0
#: A fetch that takes longer holds up nobody who has a token from before.
PATIENCE_S = 2.0

log = logging.getLogger(__name__)


class CredentialsError(Exception):
    """No way to an API server was found; the message says what was tried."""


class Credentials(Protocol):
    """Address and identity.

    ``ssl`` goes to aiohttp: a context, or True for its default (also right for plain http). It
    changes when a client's certificate is renewed. ``server_name`` is sent and checked in TLS,
    where it is not the server's. ``namespace`` is the default namespace of the identity.
    """

    @property
    def server(self) -> str: ...
    @property
    def ssl(self) -> ssl.SSLContext | bool: ...
    @property
    def namespace(self) -> str: ...
    @property
    def proxy(self) -> str | None: ...
    @property
    def server_name(self) -> str | None: ...

    async def headers(self, *, refresh: bool = False) -> Mapping[str, str]:
        """Headers that authenticate a request; ``refresh`` after a 401 forgets what is cached."""
        ...

    def headers_now(self, patience_s: float) -> Mapping[str, str]:
        """The same without a loop, which an interpreter that ends has none of: what is cached, or
        fetched in this thread within so many seconds, without a word to a person."""
        ...


@dataclass(slots=True)
class StaticCredentials:
    """Credentials that never change: client certificates, a fixed token, or none at all."""

    server: str
    ssl: ssl.SSLContext | bool = True
    namespace: str = "default"
    proxy: str | None = None
    server_name: str | None = None
    fixed: Mapping[str, str] = field(default_factory=dict)

    async def headers(self, *, refresh: bool = False) -> Mapping[str, str]:
        return self.fixed

    def headers_now(self, patience_s: float) -> Mapping[str, str]:
        return self.fixed


@dataclass(frozen=True, slots=True)
class Issued:
    """What a fetch brought.

    :ivar valid_s: it is fetched anew after so many seconds; None: once the server refuses it.
    :ivar ssl: a context with a new client's certificate; None: as before.
    """

    headers: Mapping[str, str]
    valid_s: float | None
    ssl: ssl.SSLContext | None = None


@dataclass(slots=True)
class RefreshedCredentials:
    """Credentials that are fetched anew when they are too old, or refused.

    ``fetch`` may block (it runs exec plugins), so it gets a thread unless ``in_thread`` is False;
    ``fetch_now`` does the same at the end of an interpreter: within so many seconds, without threads.
    When it fails or hangs after a first success, the old ones go on: a token file that is being
    replaced, or a plugin with a hiccup, must not stop the controller while the token is valid. What
    failed is tried again when somebody asks, more and more slowly; until then everybody is answered
    at once, with the old ones or with `CredentialsError`.
    """

    server: str
    fetch: Callable[[], Issued]
    ssl: ssl.SSLContext | bool = True
    namespace: str = "default"
    proxy: str | None = None
    server_name: str | None = None
    in_thread: bool = True
    fetch_now: Callable[[float], Issued] | None = None
    clock: Callable[[], float] = time.monotonic
    _cached: Issued | None = None
    _fetched_at: float = 0.0
    _failures: int = 0
    _retry_at: float = -math.inf
    _why: str = ""
    _renewal: asyncio.Task[None] | None = None

    async def headers(self, *, refresh: bool = False) -> Mapping[str, str]:
        if self._cached is not None and not refresh and self._is_fresh():
            return self._cached.headers
        if self.clock() >= self._retry_at:
            # One for all who ask meanwhile; it goes on although one of them gives up.
            if self._renewal is None or self._renewal.done():
                self._renewal = asyncio.get_running_loop().create_task(self._renew())
            has_one = self._cached is not None and not refresh
            await asyncio.wait({self._renewal}, timeout=PATIENCE_S if has_one else None)
        if self._cached is None:
            raise CredentialsError(f"cannot obtain a token: {self._why}")
        return self._cached.headers

    def headers_now(self, patience_s: float) -> Mapping[str, str]:
        cached = self._cached
        if cached is not None and self._is_fresh():
            return cached.headers
        issued = self.fetch() if self.fetch_now is None else self.fetch_now(patience_s)
        if issued.ssl is not None:
            self.ssl = issued.ssl
        return issued.headers

    async def _renew(self) -> None:
        try:
            issued = await asyncio.to_thread(self.fetch) if self.in_thread else self.fetch()
        except Exception as error:
            first, most = RETRY_S
            self._retry_at = self.clock() + min(most, first * 2 ** min(self._failures, 16))
            self._failures += 1
            self._why = str(error) or repr(error)
            if self._cached is not None:
                log.warning("credentials are not renewed, the old ones go on: %s", self._why)
            return
        self._cached, self._fetched_at = issued, self.clock()
        self._failures, self._retry_at = 0, -math.inf
        if issued.ssl is not None:
            self.ssl = issued.ssl

    def _is_fresh(self) -> bool:
        assert self._cached is not None
        valid_s = self._cached.valid_s
        return valid_s is None or self.clock() - self._fetched_at < valid_s


def trusting(*, file: str | None = None, pem: str | None = None) -> ssl.SSLContext:
    """A context that trusts these signers; without any, those that the system trusts.

    Python 3.13 demands of a certificate what many clusters' own do not have; kubectl does not.

    :raises ssl.SSLError, OSError: there is no certificate in it.
    """
    context = ssl.create_default_context(cafile=file, cadata=pem)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


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

    def fetch() -> Issued:
        token = token_file.read_text().strip()
        if not token:
            raise CredentialsError(f"{token_file} is empty")
        return Issued({"Authorization": f"Bearer {token}"}, TOKEN_AGE_S)

    try:
        fetch()
        context = trusting(file=str(ca_file))
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
