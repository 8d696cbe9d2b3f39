"""One request without a loop: at the end of an interpreter there are no threads for one any more."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import ssl
import time
from typing import Any
from urllib.parse import unquote, urlsplit

from .credentials import Credentials
from .resource import Resource


class _Https(http.client.HTTPSConnection):
    """Sends and checks another name than the host's, where the kubeconfig says so."""

    def __init__(self, *args: Any, server_name: str | None, **more: Any) -> None:
        super().__init__(*args, **more)
        self._server_name = server_name

    def connect(self) -> None:
        http.client.HTTPConnection.connect(self)
        host = self._server_name or getattr(self, "_tunnel_host", None) or self.host
        context: ssl.SSLContext = self._context  # type: ignore[attr-defined]
        self.sock = context.wrap_socket(self.sock, server_hostname=host)


def delete_now(
    credentials: Credentials,
    res: Resource,
    namespace: str,
    name: str,
    *,
    uid: str,
    timeout_s: float,
    deadline: float,
) -> int:
    """Delete the object with this uid and no other, in this thread.

    :param timeout_s: for each step of it: connection, TLS, answer.
    :param deadline: of `time.monotonic`: no step, and no login, begins or lasts later.
    :returns: the HTTP status.
    :raises OSError, http.client.HTTPException: no answer came.
    :raises CredentialsError: no login, or not in time.
    """

    def left() -> float:
        seconds = deadline - time.monotonic()
        if seconds <= 0:
            raise TimeoutError("no time is left")
        return seconds

    url = urlsplit(credentials.server)
    options = {
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "preconditions": {"uid": uid},
    }
    headers = {**credentials.headers_now(left()), "Content-Type": "application/json"}
    step_s = min(timeout_s, left())
    connection = _connection(credentials, url.scheme, url.hostname or "", url.port, step_s)
    with contextlib.closing(connection):
        path = url.path.rstrip("/") + res.path(namespace, name)
        connection.connect()
        connection.sock.settimeout(min(timeout_s, left()))
        connection.request("DELETE", path, json.dumps(options), headers)
        with connection.getresponse() as answer:
            answer.read()
            return answer.status


def _connection(
    credentials: Credentials, scheme: str, host: str, port: int | None, timeout_s: float
) -> http.client.HTTPConnection:
    proxy = None if credentials.proxy is None else urlsplit(credentials.proxy)
    where = (host, port) if proxy is None else (proxy.hostname or "", proxy.port)
    if scheme == "https":
        context = credentials.ssl
        connection: http.client.HTTPConnection = _Https(
            *where,
            timeout=timeout_s,
            context=context if isinstance(context, ssl.SSLContext) else None,
            server_name=credentials.server_name,
        )
    else:
        connection = http.client.HTTPConnection(*where, timeout=timeout_s)
    if proxy is not None:
        login = {}
        if proxy.username:
            told = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}".encode()
            login["Proxy-Authorization"] = f"Basic {base64.b64encode(told).decode()}"
        connection.set_tunnel(host, port, login)
    return connection
