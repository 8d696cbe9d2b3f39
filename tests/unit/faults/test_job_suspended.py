"""Every fault while a job is suspended and goes on."""

from __future__ import annotations

from tests.unit.faults.jobs import job_trials

test_a_fault_changes_no_end_of_a_job = job_trials("suspend")
