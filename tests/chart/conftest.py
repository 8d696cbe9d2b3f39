"""Fixtures of the chart tests: the two Helms, and rendering.

The programs come from PATH (`helm` is Helm 4, `helm3` is Helm 3) or from the variables HELM4 and HELM3.
A missing program is an error, never a skip.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
RELEASE = "test"
NAMESPACE = "dask"

Manifest = dict[str, Any]


def pytest_addoption(parser: pytest.Parser) -> None:
    """`pytest tests/chart --update-golden` writes the golden files anew."""
    parser.addoption("--update-golden", action="store_true", help="write tests/chart/golden anew")


class StrictLoader(yaml.SafeLoader):
    """YAML without duplicate keys."""


def _mapping(loader: StrictLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    keys = [loader.construct_object(key) for key, _ in node.value]
    twice = {key for key in keys if keys.count(key) > 1}
    if twice:
        raise yaml.constructor.ConstructorError(
            None, None, f"duplicate keys {twice}", node.start_mark
        )
    return {
        loader.construct_object(key): loader.construct_object(value, deep=True)
        for key, value in node.value
    }


StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def load_all(text: str) -> list[Manifest]:
    """Parse a stream of manifests, refusing duplicate keys; empty documents are dropped."""
    return [document for document in yaml.load_all(text, Loader=StrictLoader) if document]


@dataclass
class Helm:
    """One Helm program.

    :ivar name: `helm4` or `helm3`.
    """

    name: str
    program: str
    home: Path
    _rendered: dict[tuple[str, ...], list[Manifest]] = field(default_factory=dict)

    def run(self, *args: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run Helm with folders of its own, without any Kubernetes cluster."""
        env = {
            key: value for key, value in os.environ.items() if not key.startswith(("HELM_", "KUBE"))
        }
        for folder in ("CACHE", "CONFIG", "DATA"):
            env[f"HELM_{folder}_HOME"] = str(self.home / folder.lower())
        done = subprocess.run(
            [self.program, *map(str, args)], capture_output=True, text=True, env=env, check=False
        )
        if check and done.returncode:
            raise AssertionError(f"{self.name} {' '.join(map(str, args))}: {done.stderr}")
        return done

    def template(
        self, *args: str | Path, chart: Path = ROOT, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """`helm template` of the chart."""
        return self.run("template", RELEASE, chart, "--namespace", NAMESPACE, *args, check=check)

    def refusal(self, *args: str | Path, chart: Path = ROOT) -> str:
        """What is said of values that the chart refuses, all of them."""
        done = self.template(*args, chart=chart, check=False)
        assert done.returncode != 0, "accepted"
        assert "kind:" not in done.stdout
        return done.stderr

    def render(self, *args: str | Path, chart: Path = ROOT) -> list[Manifest]:
        """The manifests; the same question is asked only once. Do not change the answer."""
        key = (str(chart), *map(str, args))
        if key not in self._rendered:
            self._rendered[key] = load_all(self.template(*args, chart=chart).stdout)
        return self._rendered[key]


@pytest.fixture(scope="session", params=["helm4", "helm3"])
def helm(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Helm:
    """Helm 4, then Helm 3."""
    name = request.param
    program = os.environ.get(name.upper()) or shutil.which(
        {"helm4": "helm", "helm3": "helm3"}[name]
    )
    if not program:
        raise RuntimeError(
            f'{name} is not on PATH; run `python3 ci/kubernetes build` and `eval "$(python3 ci/kubernetes env)"`'
        )
    found = Helm(name, program, tmp_path_factory.mktemp(name))
    version = found.run("version", "--short").stdout
    if not version.startswith(f"v{name[-1]}."):
        raise RuntimeError(f"{program} is {version.strip()}, not Helm {name[-1]}")
    return found


@pytest.fixture(scope="session")
def packages(helm: Helm, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Name -> archive, as `make packages` builds them with this Helm."""
    folder = tmp_path_factory.mktemp("packages")
    (folder / "helm").symlink_to(helm.program)
    command = [sys.executable, ROOT / "ci/packages.py", folder / "dist"]
    subprocess.run(command, check=True, env={"PATH": str(folder), "HOME": str(folder)})
    found = {path.name.rpartition("-")[0]: path for path in (folder / "dist").iterdir()}
    assert set(found) == {"dask-gitops", "dask-clusters"}
    return found


@pytest.fixture
def values(tmp_path: Path) -> Callable[[str], Path]:
    """Write values to a file, as users do (`--set` treats null and types in its own way)."""

    def write(text: str) -> Path:
        path = tmp_path / "values.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture
def one(helm: Helm) -> Callable[..., Manifest]:
    """The one manifest of a kind that some values render to."""

    def find(text: str, kind: str, name: str | None = None) -> Manifest:
        path = helm.home / f"{hashlib.sha256(text.encode()).hexdigest()}.yaml"
        path.write_text(text, encoding="utf-8")
        manifests = helm.render("--values", path)
        found = [
            m for m in manifests if m["kind"] == kind and name in (None, m["metadata"]["name"])
        ]
        assert len(found) == 1, f"{len(found)} of {kind} {name}"
        return found[0]

    return find


def definitions() -> dict[str, Manifest]:
    """The custom resource definitions by kind."""
    paths = sorted((ROOT / "charts/crds/crds").glob("*.yaml"))
    found = [load_all(path.read_text(encoding="utf-8"))[0] for path in paths]
    return {definition["spec"]["names"]["kind"]: definition for definition in found}


def examples() -> list[Path]:
    """Every values file of the repository: the matrix of ci/ and those that users start from."""
    return [*sorted((ROOT / "ci").glob("*-values.yaml")), *sorted((ROOT / "values").glob("*.yaml"))]
