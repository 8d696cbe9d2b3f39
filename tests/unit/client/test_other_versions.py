"""The Python client also works with other versions of Dask, and everything with the lowest that controller/pyproject.toml allows.

Each bound there is a version that was tried: an environment has exactly those, imports all that it can, and runs tests.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.unit.scheduler.versions import ROOT, Run, environment

PROJECT = tomllib.loads((ROOT / "controller/pyproject.toml").read_text())["project"]
BASE: list[str] = PROJECT["dependencies"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
BETWEEN = "2025.9.1"
CLIENT = tuple(
    f"tests/unit/client/test_{name}.py"
    for name in ("cluster", "callers", "session", "display", "widget")
)
#: Environment -> what it has, and tests that run in it; the controller's image has the extra alone.
LOWEST: dict[str, tuple[list[str], tuple[str, ...]]] = {
    "client": (BASE + EXTRAS["cli"] + EXTRAS["jupyter"], (*CLIENT, "tests/unit/cli/plan/test_documents.py")),
    "controller": (EXTRAS["controller"], ("tests/unit/kube/test_client.py", "tests/unit/kube/test_informer.py")),
}  # fmt: skip
#: Tells, of each module, why it cannot be imported; "" where it can.
IMPORTS = """
import importlib, json, pkgutil, dask_gitops
told = {}
for module in pkgutil.walk_packages(dask_gitops.__path__, "dask_gitops."):
    try:
        importlib.import_module(module.name)
        told[module.name] = ""
    except ModuleNotFoundError as error:
        told[module.name] = error.name
    except Exception as error:
        told[module.name] = repr(error)
print(json.dumps(told))
"""


def lowest(requirements: list[str]) -> list[str]:
    """The same, of the lowest version that each allows."""
    found = []
    for one in map(Requirement, requirements):
        (bound,) = (each.version for each in one.specifier if each.operator == ">=")
        found.append(f"{one.name}=={bound}")
    return found


def distribution(requirement: str) -> str:
    """What it is imported as."""
    name = Requirement(requirement).name
    return {"pyyaml": "yaml"}.get(name, name.replace("-", "_"))


def pins(name: str, folder: Path) -> Path:
    """A file of requirements: the environment's own, and pytest."""
    file = folder / f"the-lowest-for-{name}.txt"
    file.write_text("\n".join([*lowest(LOWEST[name][0]), "pytest==9.2.0", ""]))
    return file


def passes(run: Run) -> None:
    try:
        run.start()
        text = run.end()
    finally:
        run.kill()
    assert run.process is not None
    assert run.process.returncode == 0, text[-20_000:]
    assert re.search(r"\b(\d\d+) passed", text), "they ran"
    assert "skipped" not in text


def test_with_a_version_between(tmp_path: Path) -> None:
    passes(Run(BETWEEN, tmp_path, CLIENT))


@pytest.mark.parametrize("name", LOWEST)
def test_with_the_lowest(tmp_path: Path, name: str) -> None:
    passes(Run(name, tmp_path, LOWEST[name][1], pins(name, tmp_path)))


def test_every_module_can_be_imported_somewhere(tmp_path: Path) -> None:
    """What cannot be lacks a distribution that is another environment's: nothing else stands in its way."""
    works: set[str] = set()
    fails: dict[str, dict[str, str]] = {}
    for name in LOWEST:
        python = environment(pins(name, tmp_path))
        env = {**os.environ, "PYTHONPATH": "controller"}
        done = subprocess.run(
            [python, "-c", IMPORTS], cwd=ROOT, env=env, stdout=subprocess.PIPE, check=True
        )
        told: dict[str, str] = json.loads(done.stdout)
        works |= {module for module, why in told.items() if not why}
        fails[name] = {module: why for module, why in told.items() if why}
    every = BASE + [one for extra in EXTRAS.values() for one in extra]
    for name, told in fails.items():
        lacks = set(map(distribution, every)) - set(map(distribution, LOWEST[name][0]))
        if "distributed" in lacks:
            lacks.add("tornado")  # which it brings
        assert {module: why for module, why in told.items() if why not in lacks} == {}, name
    assert set().union(*fails.values()) <= works
