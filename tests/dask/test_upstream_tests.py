"""The existing operator's own tests of its client, unmodified, against ours: on the real node, and computing."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from tests.dask.support import OURS
from tests.support import upstream_tests
from tests.support.kubernetes import Kubectl

#: Two shares that take about as long; none uses a cluster's name of the other.
FIRST = "multiple or port_forward or crashloopbackoff"
SECOND = f"not ({FIRST} or {upstream_tests.WITHOUT_CONTROLLER})"


@pytest.fixture
def one_pod(kubectl: Kubectl) -> Iterator[str]:
    """A namespace with room for one Pod, which is the scheduler."""
    name = f"{kubectl.namespace}-1"
    kubectl("create", "namespace", name)
    kubectl("label", "namespace", name, OURS)
    here = Kubectl(kubectl.kubeconfig, name)
    here("create", "quota", "one", "--hard=pods=1")
    yield name
    kubectl("delete", "namespace", name, "--wait=false")


def test_all_that_need_a_controller(
    kubectl: Kubectl, one_pod: str, dask_image: str, tmp_path: Path
) -> None:
    run = partial(upstream_tests.run, kubectl, image=dask_image, one_pod=one_pod)
    folders = [tmp_path / "first", tmp_path / "second"]
    with ThreadPoolExecutor(len(folders)) as both:
        ended = list(both.map(run, folders, [FIRST, SECOND]))
    outcomes = {name: outcome for share in ended for name, outcome in share.outcomes.items()}
    for share in ended:
        print(share.output[-20_000:])
    assert set(outcomes.values()) == {"passed"}, outcomes
    assert len(outcomes) == upstream_tests.COUNT - 1
    assert [share.code for share in ended] == [0, 0]
