"""The witness of the larger tiers against a small server."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from tests.support import witness
from tests.support.kubernetes import eventually

POD = {
    "kind": "Pod",
    "metadata": {"name": "p", "namespace": "n", "uid": "u", "resourceVersion": "7"},
}


class Server(BaseHTTPRequestHandler):
    """Its first watch is silent; what happens meanwhile is told to who asks from where that one was."""

    asked: list[str]
    over: threading.Event

    def do_GET(self) -> None:
        asked = parse_qs(urlsplit(self.path).query)
        if not self.path.startswith("/api/v1/pods"):
            return self.send_error(404)
        version = asked.get("resourceVersion", ["list"])[0]
        self.asked.append(version)
        self.send_response(200)
        self.end_headers()
        if version == "list":
            body = {"items": [], "metadata": {"resourceVersion": "5"}}
            self.wfile.write(json.dumps(body).encode())
        elif self.asked.count("5") > 1:
            event = {"type": "ADDED", "object": POD}
            self.wfile.write(json.dumps(event).encode() + b"\n")
            self.wfile.flush()
            self.over.wait(30)
        else:
            self.over.wait(30)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(witness, "SILENCE_S", 0.3)
    Server.asked, Server.over = [], threading.Event()
    http = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=http.serve_forever)
    thread.start()
    cluster = {"name": "x", "cluster": {"server": f"http://127.0.0.1:{http.server_port}"}}
    context = {"name": "x", "context": {"cluster": "x", "user": "x"}}
    config = {"clusters": [cluster], "contexts": [context], "current-context": "x", "users": [{"name": "x", "user": {}}]}  # fmt: skip
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
    yield tmp_path / "kubeconfig"
    Server.over.set()
    http.shutdown()
    http.server_close()
    thread.join(30)


def test_a_silent_watch_goes_on_from_where_it_was(server: Path) -> None:
    seen = witness.Witness(str(server))
    seen.start()
    try:
        eventually("the pod is told", lambda: "u" in seen._known[witness.POD], timeout=30)
    finally:
        Server.over.set()
        seen.verdict()
    assert Server.asked[:3] == ["list", "5", "5"]
