"""gitops/argocd/argocd-cm.yaml, read and run by Argo CD's own program, on the objects of resource_customizations."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.documents import ROOT
from tests.support.kubernetes import CommandError, run

SETTINGS = ROOT / "gitops/argocd/argocd-cm.yaml"
FOLDER = ROOT / "gitops/argocd/resource_customizations/kubernetes.dask.org"
KINDS = ("DaskAutoscaler", "DaskCluster", "DaskJob", "DaskWorkerGroup")


@pytest.fixture(scope="module")
def program() -> Path:
    command = [sys.executable, "ci/kubernetes", "build", "--no-packages", "--only", "argocd"]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    return Path(done.stdout.strip()) / "argocd"


def told(program: Path, what: str, file: Path, *words: str) -> str:
    """What it prints about an object."""
    command = ("admin", "settings", "resource-overrides", what, file, *words)
    env = {"ARGOCD_BINARY_NAME": "argocd"}
    return run(program, *command, "--argocd-cm-path", SETTINGS, env=env)


def cases(kind: str, file: str, part: str) -> list[Any]:
    found: list[Any] = yaml.safe_load((FOLDER / kind / file).read_text())[part]
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_health(program: Path, kind: str) -> None:
    for case in cases(kind, "health_test.yaml", "tests"):
        said = told(program, "health", FOLDER / kind / case["inputPath"])
        wanted = case["healthStatus"]
        assert f"STATUS: {wanted['status']}\nMESSAGE: {wanted['message']}\n" in f"{said}\n"


@pytest.mark.parametrize("kind", ["DaskCluster", "DaskJob", "DaskWorkerGroup"])
def test_actions(program: Path, kind: str) -> None:
    folder = FOLDER / kind / "actions"
    for case in cases(kind, "actions/action_test.yaml", "discoveryTests"):
        said = told(program, "list-actions", folder / case["inputPath"])
        offered = dict(re.findall(r"^(\w+) +(true|false)\b", said, flags=re.MULTILINE))
        assert offered == {one["name"]: str(one["disabled"]).lower() for one in case["result"]}
    for case in cases(kind, "actions/action_test.yaml", "actionTests"):
        words = [f"--param={key}={value}" for key, value in case.get("parameters", {}).items()]
        where = ("run-action", folder / case["inputPath"], case["action"], *words)
        if "expectedErrorMessage" in case:
            with pytest.raises(CommandError) as caught:
                told(program, *where)
            assert case["expectedErrorMessage"] in str(caught.value)
            continue
        said = told(program, *where)
        wanted = yaml.safe_load((folder / case["expectedOutputPath"]).read_text())["spec"]
        before = yaml.safe_load((folder / case["inputPath"]).read_text())["spec"]
        (key,) = [key for key in wanted if wanted[key] != before.get(key)]
        line = {"restartedAt": r'restartedAt: "20', "worker": "replicas: 7"}
        assert re.search(
            rf"^> +{line.get(key, f'{key}: {str(wanted[key]).lower()}')}", said, re.M
        ), said
