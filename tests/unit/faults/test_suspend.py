"""Every fault while a cluster is suspended and resumed."""

from __future__ import annotations

from tests.unit.faults.clusters import cluster_trials

test_a_fault_changes_nothing_in_the_end = cluster_trials("suspend and resume")
