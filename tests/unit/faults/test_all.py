"""No scenario and no fault is left out by the files beside this one."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from dask_gitops.kube.resource import PODS

from tests.unit.faults import autoscalers, clusters, jobs
from tests.unit.faults.trial import CALL_FAULTS, REQUEST_FAULTS, SILENT, Combination

Of = Callable[[str], list[Combination]]


@pytest.mark.parametrize(
    ("kind", "scenarios", "of", "least"),
    [
        pytest.param("cluster", clusters.SCENARIOS, clusters.combinations, 8000, id="clusters"),
        pytest.param("autoscaler", autoscalers.MINE, autoscalers.combinations, 1900, id="scaled"),
        pytest.param("job", jobs.STORIES, jobs.combinations, 6500, id="jobs"),
    ],
)
def test_every_combination_is_tried(
    kind: str, scenarios: dict[str, object], of: Of, least: int,
    record_property: Callable[[str, object], None],
) -> None:  # fmt: skip
    tried: list[str] = []
    for file in Path(__file__).parent.glob("test_*.py"):
        for words in re.findall(
            rf"^test\w+ = {kind}_trials\((.*?)\)$", file.read_text(), re.M | re.S
        ):
            tried += re.findall(r'"(.*?)"', words)
    assert sorted(tried) == sorted(scenarios)
    numbers = {scenario: len(of(scenario)) for scenario in scenarios}
    assert sum(numbers.values()) > least, numbers
    silent = {s for s in scenarios if all(one.fault != "conflict" for one in of(s))}
    assert silent == SILENT & scenarios.keys()
    record_property("closing", f"faults in memory, {kind}: {sum(numbers.values())} combinations")


def test_requests_and_calls_go_wrong_in_the_same_ways() -> None:
    assert REQUEST_FAULTS.keys() == CALL_FAULTS.keys()


def test_the_calm_runs_do_what_they_say() -> None:
    quiet = clusters.calm("autoscale 5 to 2")
    assert len(quiet.workers()) == 2
    assert quiet.api.count("delete", PODS) == 3
    assert len(clusters.calm("declare an autoscaler").workers()) == 5
