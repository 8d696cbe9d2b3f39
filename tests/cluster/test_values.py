"""Every values file of the repository, as the real API server takes it: nothing refused, nothing pruned."""

from __future__ import annotations

from pathlib import Path

import yaml

from tests.support.kubernetes import Kubectl, run


def test_the_api_server_takes_every_example(system: Kubectl, kubectl: Kubectl, root: Path) -> None:
    """Strictly, so that a field that the definitions do not know is an error. What Helm 3 renders, the chart tests compare."""
    examples = [*(root / "ci").glob("*-values.yaml"), *(root / "values").glob("*.yaml")]
    seen = set()
    for example in examples:
        text = run("helm", "template", "x", root, "-n", kubectl.namespace, "--values", example)
        ours = [
            m for m in yaml.safe_load_all(text) if m and m["apiVersion"] == "kubernetes.dask.org/v1"
        ]
        seen |= {m["kind"] for m in ours}
        if ours:
            taken = kubectl(
                "apply", "--dry-run=server", "--validate=strict", "-f", "-",
                stdin=yaml.safe_dump_all(ours),
            )  # fmt: skip
            assert taken.count("(server dry run)") == len(ours), example.name
    assert seen == {"DaskCluster", "DaskWorkerGroup", "DaskAutoscaler", "DaskJob"}
