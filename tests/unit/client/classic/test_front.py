"""More ways in, and which Kubernetes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import yaml
from dask_gitops import InCluster, KubeAuth, KubeCluster, KubeConfig
from dask_gitops.client.classic import auth
from dask_gitops.client.classic.front import INSTEAD
from dask_gitops.client.errors import NoKubernetesError

from tests.unit.client.classic.support import (
    JSON,
    POD,
    WHOLE,
    made,
)


@pytest.fixture
def given_to_it(monkeypatch: pytest.MonkeyPatch) -> Callable[[], JSON]:
    taken: JSON = {}
    monkeypatch.setattr(KubeCluster, "__init__", lambda self, **words: taken.update(words))
    monkeypatch.setattr(KubeCluster, "__del__", lambda self: None, raising=False)
    return lambda: taken


def test_two_more_ways_in(given_to_it: Callable[[], JSON], tmp_path: Path) -> None:
    file = tmp_path / "named-like-a-cluster"
    file.write_text(yaml.safe_dump(POD))
    KubeCluster.from_yaml(str(file), n_workers=2)
    given = given_to_it()
    assert given["n_workers"] == 2
    assert made(given["pod_template"]) == WHOLE
    KubeCluster.from_dict(POD, namespace="b")
    assert given_to_it()["pod_template"] is POD
    assert given_to_it()["namespace"] == "b"


CONFIG = {
    "clusters": [{"name": "c", "cluster": {"server": "https://10.0.0.1:6443"}}],
    "users": [{"name": "u", "user": {"token": "t"}}],
    "contexts": [{"name": n, "context": {"cluster": "c", "user": "u"}} for n in ("one", "two")],
    "current-context": "two",
}


def test_which_kubernetes(tmp_path: Path) -> None:
    file = tmp_path / "config"
    file.write_text(json.dumps(CONFIG))
    inside = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBECONFIG": str(file)}
    outside: Mapping[str, str] = {"KUBECONFIG": str(file)}
    nowhere = {"KUBECONFIG": str(tmp_path / "none"), "HOME": str(tmp_path)}
    both = [InCluster(), KubeConfig()]
    assert auth.way(None, outside) == {}
    assert auth.way(both, inside) == {}
    assert auth.way(both, outside) == {}
    assert auth.way(KubeConfig(), inside) == {"context": "two"}
    assert auth.way([KubeConfig(context="one"), InCluster()], inside) == {"context": "one"}
    assert auth.way(KubeConfig(str(file), context="one"), nowhere) == {
        "kubeconfig": str(file),
        "context": "one",
    }
    assert auth.way([KubeConfig("/nowhere"), InCluster()], inside) == {}
    with pytest.raises(NoKubernetesError, match=r"^no way to Kubernetes: InCluster: not in a Pod$"):
        auth.way([InCluster()], outside)
    with pytest.raises(NoKubernetesError, match="InCluster: not in a Pod; KubeConfig: "):
        auth.way(both, nowhere)
    with pytest.raises(ValueError, match=r"^KubeAuth\('https://x'\) is not carried over: write a"):
        KubeAuth("https://x", username="a")


@pytest.mark.parametrize(
    "words", ["KubeCluster(POD", "KubeCluster.from_dict(POD", "KubeCluster.from_yaml(FILE"]
)
def test_the_warning_is_about_the_users_own_line(words: str, tmp_path: Path) -> None:
    file = tmp_path / "pod.yml"
    file.write_text(yaml.safe_dump(POD))
    program = tmp_path / "program.py"
    program.write_text(
        f"from dask_gitops import KubeCluster\nPOD, FILE = {POD!r}, {str(file)!r}\n"
        f"try:\n    {words}, kubeconfig='/nowhere')\nexcept ConnectionError:\n    pass\n"
    )
    done = subprocess.run(
        [sys.executable, str(program)], capture_output=True, text=True, check=True
    )
    assert done.stderr.startswith(f"{program}:4: FutureWarning: {INSTEAD}\n")
    assert done.stderr.count("FutureWarning") == 1
