"""What happens to autoscalers; the rest is as with clusters."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from dask_gitops.kube.resource import DASKCLUSTERS

from tests.support.harness import Harness
from tests.unit.faults import clusters
from tests.unit.faults.trial import Combination, trials

JSON = dict[str, Any]
SOON = {"stabilizationSeconds": 15}


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
clusters.MORE.update(MINE)


def combinations(scenario: str) -> list[Combination]:
    """But the looks at an idle scheduler, which are all alike."""
    some = clusters.combinations(scenario)
    return [one for one in some if one.what == "request" or one.number <= 8]


autoscaler_trials = functools.partial(trials, combinations, clusters.wrong)
