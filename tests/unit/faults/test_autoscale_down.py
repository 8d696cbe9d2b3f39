"""Every fault while an autoscaler takes workers away."""

from __future__ import annotations

from tests.unit.faults.autoscalers import autoscaler_trials

test_a_fault_changes_nothing_in_the_end = autoscaler_trials("autoscale 5 to 2")
