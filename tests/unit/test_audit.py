"""What counts as done in the API server's audit log."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.kubernetes import Audit

POD = {"resource": "pods", "namespace": "ns", "name": "demo-scheduler"}


def entry(code: int, query: str = "", **ref: str) -> str:
    return json.dumps(
        {
            "stage": "ResponseComplete",
            "verb": "create",
            "requestURI": f"/api/v1/namespaces/ns/pods{query}",
            "user": {"username": "controller"},
            "objectRef": {**POD, **ref},
            "responseStatus": {"code": code},
        }
    )


@pytest.mark.parametrize(
    ("line", "done", "touched"),
    [
        pytest.param(entry(201), 1, 1, id="created"),
        pytest.param(entry(201, "?fieldManager=x&dryRun=All"), 0, 0, id="only tried"),
        pytest.param(entry(504), 0, 1, id="its client was killed"),
        pytest.param(entry(504, "?dryRun=All"), 0, 0, id="a trial whose client was killed"),
        pytest.param(entry(409), 0, 0, id="refused"),
        pytest.param(entry(201, subresource="binding"), 0, 0, id="a subresource"),
    ],
)
def test_what_took_effect(tmp_path: Path, line: str, done: int, touched: int) -> None:
    log = tmp_path / "audit.log"
    log.write_text("")
    audit = Audit.now(log)
    log.write_text(f"{line}\n")
    assert len(audit.done("create", "pods", namespace="ns", user="controller")) == done
    assert len(audit.touched("create", "pods", namespace="ns")) == touched
