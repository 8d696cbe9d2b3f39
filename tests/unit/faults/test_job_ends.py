"""Every fault in the life of a job that ends by itself."""

from __future__ import annotations

from tests.unit.faults.jobs import job_trials

test_a_fault_changes_no_end_of_a_job = job_trials("exit 0", "exit 0, running", "sidecar")
