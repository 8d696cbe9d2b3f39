"""The port of kstatus says what the original says; the cases are those that its generic rules distinguish."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.kstatus import KstatusError, Result, compute

JSON = dict[str, Any]


def resource(
    *conditions: tuple[str, str], observed: Any = 3, generation: Any = 3, **meta: Any
) -> JSON:
    """:param conditions: type and status; the message is their type in small letters."""
    status: JSON = {
        "observedGeneration": observed,
        "conditions": [{"type": t, "status": s, "message": t.lower()} for t, s in conditions],
    }
    if observed is None:
        del status["observedGeneration"]
    return {
        "kind": "DaskCluster",
        "metadata": {"name": "demo", "generation": generation, **meta},
        "status": status,
    }


@pytest.mark.parametrize(
    ("obj", "status", "message"),
    [
        ({"metadata": {}}, "Current", "Resource is current"),
        ({"metadata": {"generation": 1}, "status": None}, "Current", "Resource is current"),
        (resource(), "Current", "Resource is current"),
        (resource(("Other", "True")), "Current", "Resource is current"),
        (resource(("Ready", "True")), "Current", "Resource is Ready"),
        (resource(("Ready", "False")), "InProgress", "ready"),
        (resource(("Ready", "Unknown")), "InProgress", "ready"),
        (resource(("Ready", "maybe")), "Current", "Resource is current"),
        (resource(("Ready", "True"), ("Reconciling", "True")), "InProgress", "reconciling"),
        (resource(("Ready", "True"), ("Stalled", "True")), "Failed", "stalled"),
        (resource(("Ready", "True"), ("Stalled", "False")), "Current", "Resource is Ready"),
        (resource(("Ready", "True"), ("Reconciling", "Unknown")), "Current", "Resource is Ready"),
        (resource(("Stalled", "True"), ("Reconciling", "True")), "Failed", "stalled"),
        (resource(("Reconciling", "True"), ("Stalled", "True")), "InProgress", "reconciling"),
        (resource(("Ready", "True"), observed=None), "Current", "Resource is Ready"),
        (resource(("Ready", "True"), generation=None), "Current", "Resource is Ready"),
        (
            resource(("Stalled", "True"), observed=2),
            "InProgress",
            "DaskCluster generation is 3, but latest observed generation is 2",
        ),
        (
            resource(observed=-1),
            "InProgress",
            "DaskCluster generation is 3, but latest observed generation is -1",
        ),
        (
            resource(("Stalled", "True"), observed=2, deletionTimestamp="2030-01-01T00:00:00Z"),
            "Terminating",
            "Resource scheduled for deletion",
        ),
        (resource(("Ready", "True"), deletionTimestamp=""), "Current", "Resource is Ready"),
    ],
)
def test_the_rules(obj: JSON, status: str, message: str) -> None:
    assert compute(obj) == Result(status, message)


@pytest.mark.parametrize(
    "obj",
    [
        resource(observed="3"),
        resource(generation=1.5),
        resource(observed=True),
        {"metadata": {}, "status": "fine"},
        {"metadata": {}, "status": {"conditions": {"Ready": "True"}}},
        {"metadata": {}, "status": {"conditions": ["Ready"]}},
        {"metadata": {}, "status": {"conditions": [{"type": "Ready", "status": True}]}},
    ],
)
def test_what_it_cannot_read_is_an_error(obj: JSON) -> None:
    with pytest.raises(KstatusError):
        compute(obj)
