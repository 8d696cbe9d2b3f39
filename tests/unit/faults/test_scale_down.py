"""Every fault while workers leave."""

from __future__ import annotations

from tests.unit.faults.clusters import cluster_trials

test_a_fault_changes_nothing_in_the_end = cluster_trials(
    "scale down 6 to 2", "scale down 6 to 2, busy"
)
