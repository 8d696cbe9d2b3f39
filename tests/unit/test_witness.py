"""The witness of the larger tiers against a small server."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from tests.support import witness
from tests.support.kubernetes import eventually

JSON = dict[str, Any]
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
    yield kubeconfig(tmp_path, http.server_port)
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


# ---- whose failure an untrue status is


class Tier:
    """An API server that has and tells what a test wants; the witness watches it."""

    def __init__(self, folder: Path) -> None:
        self.items: dict[str, list[JSON]] = {}  # plural -> what a list of a namespace holds
        self.events: dict[str, list[JSON]] = {}  # plural -> what its watch has told
        self.changed = threading.Condition()
        self.over = False
        tier = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                split = urlsplit(self.path)
                asked, plural = parse_qs(split.query), split.path.rpartition("/")[2]
                self.send_response(200)
                self.end_headers()
                if "watch" not in asked:
                    items = tier.items.get(plural, []) if "/namespaces/" in split.path else []
                    body = {"items": items, "metadata": {"resourceVersion": "5"}}
                    self.wfile.write(json.dumps(body).encode())
                    return
                told = 0
                while not tier.over:
                    with tier.changed:
                        events = tier.events.get(plural, [])[told:]
                        if not events:
                            tier.changed.wait(0.1)
                    for event in events:
                        self.wfile.write(json.dumps(event).encode() + b"\n")
                        self.wfile.flush()
                    told += len(events)

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.http.serve_forever)
        self.thread.start()
        self.kubeconfig = kubeconfig(folder, self.http.server_port)
        self.witness = witness.Witness(str(self.kubeconfig))
        self.witness.start()

    def tell(self, plural: str, obj: JSON) -> None:
        """A watch tells that something is there."""
        with self.changed:
            self.events.setdefault(plural, []).append({"type": "ADDED", "object": obj})
            self.changed.notify_all()

    def close(self) -> None:
        self.over = True
        self.http.shutdown()
        self.http.server_close()
        self.thread.join(30)


def kubeconfig(folder: Path, port: int) -> Path:
    cluster = {"name": "x", "cluster": {"server": f"http://127.0.0.1:{port}"}}
    context = {"name": "x", "context": {"cluster": "x", "user": "x"}}
    config = {"clusters": [cluster], "contexts": [context], "current-context": "x", "users": [{"name": "x", "user": {}}]}  # fmt: skip
    file = folder / "kubeconfig"
    file.write_text(yaml.safe_dump(config))
    return file


@pytest.fixture
def tier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tier]:
    monkeypatch.setattr(witness, "SILENCE_S", 5.0)
    made = Tier(tmp_path)
    yield made
    made.close()


def cluster(namespace: str, version: int, *, failed: bool) -> JSON:
    """A DaskCluster whose status is as it should be, or says Failed."""
    words = {"Ready": "False", "Stalled" if failed else "Reconciling": "True"}
    conditions = [
        {"type": type_, "status": status, "reason": "Because", "message": "words",
         "lastTransitionTime": "2026-01-01T00:00:00Z", "observedGeneration": 1}
        for type_, status in words.items()
    ]  # fmt: skip
    meta = {"name": "demo", "namespace": namespace, "uid": f"of-{namespace}", "generation": 1}
    return {
        "kind": "DaskCluster",
        "metadata": {**meta, "resourceVersion": str(version)},
        "spec": {"worker": {"replicas": 0}},
        "status": {
            "observedGeneration": 1,
            "phase": "Pending",
            "workers": {"desired": 0, "ready": 0},
            "conditions": conditions,
        },
    }


def test_an_untrue_status_is_the_failure_of_the_test_that_used_the_namespace(tier: Tier) -> None:
    lie = cluster("one", 7, failed=True)
    tier.items["daskclusters"] = [lie]
    tier.tell("daskclusters", lie)
    found = tier.witness.end_of_test("one", "test_one")
    assert found is not None
    assert "test_one/demo: Failed, and nobody said that a person acted wrongly" in found
    assert tier.witness.verdict() is None


def test_it_waits_for_what_the_watch_has_not_told_yet(tier: Tier) -> None:
    lie = cluster("one", 7, failed=True)
    tier.items["daskclusters"] = [lie]
    later = threading.Timer(0.5, tier.tell, ["daskclusters", lie])
    later.start()
    found = tier.witness.end_of_test("one", "test_one")
    assert found is not None
    assert "Failed" in found
    later.join()


def test_what_the_watch_never_tells_is_a_failure(
    tier: Tier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(witness, "PATIENCE_S", 0.5)
    tier.items["daskclusters"] = [cluster("one", 7, failed=False)]
    assert tier.witness.end_of_test("one", "t") == "the witness saw nothing of DaskCluster of-one"


def test_no_other_test_is_blamed_and_the_rest_is_the_verdict(tier: Tier) -> None:
    tier.tell("daskclusters", cluster("one", 7, failed=True))
    truth = cluster("two", 8, failed=False)
    tier.items["daskclusters"] = [truth]
    tier.tell("daskclusters", truth)
    tier.witness.allow("on purpose", "three")
    assert tier.witness.end_of_test("two", "test_two") is None
    found = tier.witness.verdict()
    assert found is not None
    assert "one/demo: Failed" in found


def test_whoever_acts_wrongly_on_purpose_says_so(tier: Tier) -> None:
    lie = cluster("one", 7, failed=True)
    tier.items["daskclusters"] = [lie]
    tier.tell("daskclusters", lie)
    tier.witness.allow("a spec that is refused", "one")
    assert tier.witness.end_of_test("one", "test_one") is None


def test_a_watch_that_breaks_is_told(tier: Tier) -> None:
    tier.tell("daskclusters", {"metadata": {"resourceVersion": "9"}})  # nothing to know it by
    eventually("it breaks", lambda: tier.witness._blind)
    found = tier.witness.verdict()
    assert found is not None
    assert "the witness' watch of DaskCluster ended" in found
