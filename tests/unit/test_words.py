"""The words that all rooms share: conditions, Events, settings."""

from __future__ import annotations

from typing import Any

import pytest
from dask_gitops import status
from dask_gitops.events import event
from dask_gitops.settings import DEFAULT_DASK_IMAGE, Settings, SettingsError, WorkerLimits

from tests.unit.objects import T0, TIME


def test_a_condition_as_it_is_written() -> None:
    (written,) = status.conditions(
        [status.Condition("Ready", True, "Up", "all up")], {}, 3, T0 + 0.9
    )
    assert written == {
        "type": "Ready",
        "status": "True",
        "reason": "Up",
        "message": "all up",
        "observedGeneration": 3,
        "lastTransitionTime": TIME,
    }


@pytest.mark.parametrize(("now_up", "time"), [(True, TIME), (False, "2030-01-01T00:00:10Z")])
def test_the_transition_time_moves_with_the_status_only(now_up: bool, time: str) -> None:
    old = {"conditions": status.conditions([status.Condition("Ready", True, "A", "a")], {}, 1, T0)}
    new = [status.Condition("Ready", now_up, "B", "b")]
    (written,) = status.conditions(new, old, 2, T0 + 10)
    assert written["lastTransitionTime"] == time
    assert (written["reason"], written["observedGeneration"]) == ("B", 2)


@pytest.mark.parametrize(
    "old", [{}, {"conditions": None}, {"conditions": [{"type": "Ready"}]}, {"conditions": [{}]}]
)
def test_any_status_of_before_will_do(old: Any) -> None:
    (written,) = status.conditions([status.Condition("Ready", True, "A", "a")], old, 1, T0)
    assert written["lastTransitionTime"] == TIME


def test_long_messages_are_cut() -> None:
    (written,) = status.conditions([status.Condition("Ready", False, "A", "x" * 5000)], {}, 1, T0)
    assert len(written["message"]) == 1024


def test_what_others_wrote_cannot_write_on_a_terminal() -> None:
    text = "\x1b[2J\x1b]0;mine\x07 back-off\r\nnext\u202eline"
    (written,) = status.conditions([status.Condition("Ready", False, "A", text)], {}, 1, T0)
    made = event(
        kind="DaskCluster",
        namespace="ns",
        name="demo",
        uid="u",
        reason="R",
        message=text,
        warning=True,
        now=T0,
        unique="1",
    )
    for said in (written["message"], made["message"]):
        assert said.isprintable()
        assert said == " [2J ]0;mine  back-off  next line"


def test_what_kstatus_reads() -> None:
    def types(found: list[status.Condition]) -> dict[str, bool]:
        return {c.type: c.status for c in found}

    assert types(status.ready("R", "m")) == {"Ready": True}
    assert types(status.reconciling("R", "m")) == {"Ready": False, "Reconciling": True}
    assert types(status.stalled("R", "m")) == {"Ready": False, "Stalled": True}


def test_counting() -> None:
    assert [status.workers(n) for n in (0, 1, 2)] == ["0 workers", "1 worker", "2 workers"]


def test_an_event() -> None:
    made = event(
        kind="DaskCluster",
        namespace="ns",
        name="demo",
        uid="u",
        reason="ScaledUp",
        message="m" * 5000,
        warning=True,
        now=T0,
        unique="1",
    )
    assert made["metadata"] == {"name": "demo.1", "namespace": "ns"}
    assert made["involvedObject"]["uid"] == "u"
    assert made["type"] == "Warning"
    assert len(made["message"]) == 1024
    assert made["firstTimestamp"] == made["lastTimestamp"] == TIME


def test_settings_of_an_empty_environment() -> None:
    found = Settings.from_env({})
    assert found.namespaces == ()
    assert found.dask_image == DEFAULT_DASK_IMAGE
    assert found.port == 8080
    assert found.lease_namespace is None
    assert found.identity
    assert found.limits == WorkerLimits(5_000, 10_000, 20_000, 50_000)


def test_settings() -> None:
    found = Settings.from_env(
        {
            "DASK_GITOPS_NAMESPACES": "a, b,,",
            "DASK_GITOPS_DASK_IMAGE": "mine:1",
            "DASK_GITOPS_RESERVED_METADATA": "example.com",
            "DASK_GITOPS_PORT": "0",
            "DASK_GITOPS_LOG_FORMAT": "json",
            "DASK_GITOPS_LOG_LEVEL": "debug",
            "DASK_GITOPS_LEASE_NAMESPACE": "system",
            "DASK_GITOPS_LEASE_NAME": "other",
            "DASK_GITOPS_IDENTITY": "pod-1",
            "DASK_GITOPS_WORKERS_PER_GROUP": "1",
            "DASK_GITOPS_WORKERS_PER_CLUSTER": "20",
            "DASK_GITOPS_WORKERS_PER_NAMESPACE": "300",
            "DASK_GITOPS_WORKERS": "999999999",
        }
    )
    assert found.limits == WorkerLimits(1, 20, 300, 999_999_999)
    assert (found.namespaces, found.reserved) == (("a", "b"), ("example.com",))
    assert (found.dask_image, found.port) == ("mine:1", 0)
    assert (found.log_format, found.log_level) == ("json", "DEBUG")
    assert (found.lease_namespace, found.lease_name, found.identity) == ("system", "other", "pod-1")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DASK_GITOPS_PORT", "http"),
        ("DASK_GITOPS_PORT", "70000"),
        ("DASK_GITOPS_PORT", "-1"),
        ("DASK_GITOPS_LOG_FORMAT", "xml"),
        ("DASK_GITOPS_LOG_LEVEL", "LOUD"),
        *(
            (f"DASK_GITOPS_WORKERS{of}", value)
            for of in ("", "_PER_GROUP", "_PER_CLUSTER", "_PER_NAMESPACE")
            for value in ("0", "many", "-1", "1e3", "1.5", "NaN", "010", "٣", "1" + "0" * 5000)
        ),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name):
        Settings.from_env({name: value})
