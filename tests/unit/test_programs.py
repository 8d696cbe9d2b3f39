"""What ci/kubernetes builds for the tests, and how."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest

from tests.support.go_modules import ARGO_CD, FLUX

KUBERNETES = Path(__file__).parents[2] / "ci/kubernetes"


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(KUBERNETES)
    return importlib.import_module("programs")


def test_the_definitions_that_tests_read_are_those_of_the_programs_that_run(
    programs: ModuleType,
) -> None:
    kept = {m for p in programs.PROGRAMS.values() for m, _ in getattr(p, "files", ())}
    assert kept == {ARGO_CD, *FLUX}
    for name in ("argocd", "kustomize-controller", "helm-controller"):
        program = programs.PROGRAMS[name]
        assert f"{program.module}@{program.version}" in kept


def test_the_newer_go_takes_nothing_of_the_machines_own(
    programs: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """GOROOT leads to the older compiler."""
    tools = {
        tmp_path / "bin/go": "echo go1.26.8",
        tmp_path / f"go-{programs.NEWER_GO}/bin/go": 'echo "root is ${GOROOT-its own}, told $*"',
    }
    for tool, script in tools.items():
        tool.parent.mkdir(parents=True)
        tool.write_text(f"#!/bin/sh\n{script}\n")
        tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin", prepend=":")
    monkeypatch.setenv("DASK_GITOPS_CACHE", str(tmp_path))
    monkeypatch.setenv("GOROOT", "/older")
    said = programs.run([*programs.go(newer=True), "build"]).stdout
    assert said == "root is its own, told build\n"
