"""What `test_faults.py` does to clusters and groups, done to an autoscaler: every fault at every request and call."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from dask_gitops.kube.resource import DASKCLUSTERS, PODS

from tests.support.harness import Harness
from tests.unit.reconcile import test_faults as faults

JSON = dict[str, Any]
SOON = {"stabilizationSeconds": 15}
PART = 12  # a normal run tries every so-manieth combination


def scale_up(h: Harness) -> None:
    h.autoscaler(1, 8)
    h.demand(6)  # one of them is for the worker of the other group


def scale_down(h: Harness) -> None:
    h.schedulers.scatter()
    h.autoscaler(2, 8, scaleDown=SOON)


def declare(h: Harness) -> None:
    h.demand(6)  # one of them is for the worker of the other group
    h.edit(DASKCLUSTERS, "demo", {"autoscaler": {"minimum": 1, "maximum": 5}})


MINE: dict[str, tuple[int, Callable[[Harness], None]]] = {
    "autoscale 3 to 5": (3, scale_up),
    "autoscale 5 to 2": (5, scale_down),
    "declare an autoscaler": (3, declare),
}
faults.MORE.update(MINE)


def everything() -> list[faults.Combination]:
    """But the looks at an idle scheduler, which are all alike."""
    some = faults.combinations(MINE)
    return [one for one in some if one.what == "request" or one.number <= 8]


def test_a_fault_changes_nothing_in_the_end(record_property: Callable[[str, object], None]) -> None:
    found = everything()
    assert len(found) > 500
    assert {"autoscale 5 to 2", "declare an autoscaler"} <= {one.scenario for one in found}
    quiet = faults.calm("autoscale 5 to 2")
    assert len(quiet.workers()) == 2
    assert quiet.api.count("delete", PODS) == 3
    assert len(faults.calm("declare an autoscaler").workers()) == 5
    some = random.Random(faults.SEED).sample(found, len(found) // PART)
    faults.try_all(some, len(found), record_property)


@pytest.mark.soak
def test_every_fault_changes_nothing_in_the_end(
    record_property: Callable[[str, object], None],
) -> None:
    found = everything()
    faults.try_all(found, len(found), record_property)
