"""The one request that is made without a loop."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from dask_gitops.kube import DASKCLUSTERS, from_kubeconfig
from dask_gitops.kube.credentials import Issued, RefreshedCredentials, StaticCredentials, trusting
from dask_gitops.kube.farewell import delete_now

from tests.support.certificates import self_signed

PATH = "/apis/kubernetes.dask.org/v1/namespaces/team-b/daskclusters/demo"


class Server(HTTPServer):
    asked: list[tuple[str, str | None, Any]]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_DELETE(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.path, self.headers.get("Authorization"), body))
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *words: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    one = Server(("127.0.0.1", 0), Handler)
    one.asked = []
    thread = threading.Thread(target=one.serve_forever, args=(0.01,))
    thread.start()
    yield one
    one.shutdown()
    thread.join()
    one.server_close()


def gone(credentials: Any) -> int:
    deadline = time.monotonic() + 30
    return delete_now(
        credentials, DASKCLUSTERS, "team-b", "demo", uid="u-1", timeout_s=3, deadline=deadline
    )


def test_this_object_and_no_other(server: Server) -> None:
    url = f"http://127.0.0.1:{server.server_port}"
    assert gone(StaticCredentials(url + "/proxied/", fixed={"Authorization": "Bearer t"})) == 200
    options = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": "u-1"}}
    assert server.asked == [("/proxied" + PATH, "Bearer t", options)]


def test_a_token_is_fetched_in_this_thread(server: Server) -> None:
    fetched: list[str] = []

    def fetch() -> Issued:
        fetched.append(threading.current_thread().name)
        return Issued({"Authorization": "Bearer new"}, 60.0)

    url = f"http://127.0.0.1:{server.server_port}"
    assert gone(RefreshedCredentials(server=url, fetch=fetch)) == 200
    assert fetched == [threading.current_thread().name]
    assert server.asked[0][1] == "Bearer new"


def test_tls_with_another_name(server: Server, tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path, "kubernetes.example.org")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    url = f"https://127.0.0.1:{server.server_port}"
    trusted = trusting(file=str(certificate))
    assert gone(StaticCredentials(url, trusted, server_name="kubernetes.example.org")) == 200
    with pytest.raises(ssl.SSLCertVerificationError):
        gone(StaticCredentials(url, trusted))


def test_a_plugin_is_run_without_threads_and_says_nothing(
    server: Server, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    """An interpreter that ends starts no thread."""
    plugin = tmp_path / "login"
    plugin.write_text(
        "#!/bin/sh\n"
        "echo open a page and type a code >&2\n"
        'echo "$KUBERNETES_EXEC_INFO" > ' + str(tmp_path / "told") + "\n"
        """echo '{"kind":"ExecCredential","apiVersion":"client.authentication.k8s.io/v1","""
        """"status":{"token":"t"}}'\n"""
    )
    plugin.chmod(0o755)
    file = tmp_path / "config"
    file.write_text(
        json.dumps(
            {
                "current-context": "c",
                "clusters": [
                    {
                        "name": "c",
                        "cluster": {"server": f"http://127.0.0.1:{server.server_port}"},
                    }
                ],
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
                "users": [
                    {
                        "name": "u",
                        "user": {
                            "exec": {
                                "apiVersion": "client.authentication.k8s.io/v1",
                                "command": str(plugin),
                                "interactiveMode": "IfAvailable",
                            }
                        },
                    }
                ],
            }
        )
    )

    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    credentials = from_kubeconfig(str(file))
    monkeypatch.setattr(threading.Thread, "start", start)
    assert gone(credentials) == 200
    assert server.asked[0][1] == "Bearer t"
    assert json.loads((tmp_path / "told").read_text())["spec"]["interactive"] is False
    assert capfd.readouterr().err == ""


def test_nothing_begins_after_the_deadline() -> None:
    def fetch() -> Issued:
        raise AssertionError("it began")

    credentials = RefreshedCredentials(server="http://127.0.0.1:1", fetch=fetch)
    with pytest.raises(TimeoutError):
        delete_now(
            credentials,
            DASKCLUSTERS,
            "team-b",
            "demo",
            uid="u-1",
            timeout_s=3,
            deadline=time.monotonic(),
        )


def test_nobody_answers() -> None:
    with pytest.raises(OSError, match="refused"):
        gone(StaticCredentials("http://127.0.0.1:1"))
