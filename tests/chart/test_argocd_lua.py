"""Health checks and actions for Argo CD, in the Lua that Argo CD has, on objects as our controller writes them.

The files have the layout of Argo CD's own resource_customizations, and this reads them as its tests do.
"""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from lupa import lua51

from .conftest import ROOT

ARGOCD = ROOT / "gitops/argocd"
FOLDER = ARGOCD / "resource_customizations/kubernetes.dask.org"
KINDS = ("DaskAutoscaler", "DaskCluster", "DaskJob", "DaskWorkerGroup")
NO_TIME = "0001-01-01T00:00:00Z"

JSON = dict[str, Any]


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def plain(value: Any) -> Any:
    """A Lua value as Python's; whole numbers are integers, as Argo CD sends them."""
    if lua51.lua_type(value) == "table":
        items = {plain(key): plain(item) for key, item in value.items()}
        if items and sorted(items, key=str) == sorted(range(1, len(items) + 1), key=str):
            return [items[n] for n in range(1, len(items) + 1)]
        return items
    return int(value) if isinstance(value, float) and value.is_integer() else value


def run(script: str, obj: JSON, params: dict[str, str] | None = None) -> Any:
    """What a script returns: only the libraries base, table, package and two functions of os are there."""
    lua = lua51.LuaRuntime(
        register_eval=False, register_builtins=False, unpack_returned_tuples=True
    )
    lua.execute("""
        local time, date = os.time, os.date
        getmetatable("").__index = nil
        for _, name in ipairs({"string", "math", "io", "debug", "coroutine", "os", "jit", "bit"}) do
          _G[name], package.loaded[name] = nil, nil
        end
        package.loaded.os = {time = time, date = date}
    """)
    lua.globals()["obj"] = lua.table_from(obj, recursive=True)
    lua.globals()["actionParams"] = lua.table_from(params or {})
    return plain(lua.execute(script))


def cases(file: str, list_of: str) -> list[Any]:
    """Each test of a list in the test files of all kinds."""
    found = []
    for kind in KINDS:
        path = FOLDER / kind / file
        for case in load(path).get(list_of, []) if path.exists() else []:
            name = f"{kind} {case.get('action', '')} {Path(case['inputPath']).stem}"
            extra = f" {case['parameters']}" if "parameters" in case else ""
            found.append(pytest.param(path.parent, case, id=name + extra))
    return found


@pytest.mark.parametrize(("folder", "case"), cases("health_test.yaml", "tests"))
def test_health(folder: Path, case: JSON) -> None:
    script = (folder / "health.lua").read_text(encoding="utf-8")
    assert run(script, load(folder / case["inputPath"])) == case["healthStatus"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_object_is_tried(kind: str) -> None:
    inputs = {
        Path(case["inputPath"]).name for case in load(FOLDER / kind / "health_test.yaml")["tests"]
    }
    assert inputs == {path.name for path in (FOLDER / kind / "testdata").iterdir()}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("status", [None, {}, {"observedGeneration": 1}, {"conditions": []}])
def test_health_of_an_object_without_a_verdict(kind: str, status: JSON | None) -> None:
    """Nothing, or something that was wiped: not healthy, and not broken."""
    obj: JSON = {"metadata": {"generation": 1}, "spec": {}}
    found = run(
        (FOLDER / kind / "health.lua").read_text(),
        obj | ({"status": status} if status is not None else {}),
    )
    assert found["status"] == "Progressing"
    assert found["message"]


@pytest.mark.parametrize(("folder", "case"), cases("actions/action_test.yaml", "discoveryTests"))
def test_actions_that_are_offered(folder: Path, case: JSON) -> None:
    script = (folder / "discovery.lua").read_text(encoding="utf-8")
    found = run(script, load(folder / case["inputPath"]))
    offered = [{"name": name, "disabled": False, **what} for name, what in sorted(found.items())]
    assert offered == sorted(case["result"], key=lambda what: what["name"])
    assert set(found) == {path.parent.name for path in folder.glob("*/action.lua")}


@pytest.mark.parametrize(("folder", "case"), cases("actions/action_test.yaml", "actionTests"))
def test_action(folder: Path, case: JSON) -> None:
    script = (folder / case["action"] / "action.lua").read_text(encoding="utf-8")
    before = load(folder / case["inputPath"])
    if "expectedErrorMessage" in case:
        with pytest.raises(lua51.LuaError) as caught:
            run(script, before, case["parameters"])
        assert str(caught.value) == case["expectedErrorMessage"]
        return
    after = run(script, before, case.get("parameters"))
    time = after["spec"].get("restartedAt")
    if time and time != before["spec"].get("restartedAt"):
        passed = datetime.now(UTC) - datetime.strptime(time, "%Y-%m-%dT%H:%M:%S%z")
        assert -1 < passed.total_seconds() < 600
        after["spec"]["restartedAt"] = NO_TIME
    assert after == load(folder / case["expectedOutputPath"])
    assert after != before


def test_a_group_without_a_spec_of_workers_can_be_scaled() -> None:
    script = (FOLDER / "DaskWorkerGroup/actions/scale/action.lua").read_text(encoding="utf-8")
    assert run(script, {"spec": {"cluster": "demo"}}, {"replicas": "0"})["spec"]["worker"] == {
        "replicas": 0
    }


@pytest.mark.parametrize(
    "library",
    ["string.upper('a')", "math.floor(1)", "('a'):upper()", "os.exit(1)", "io.write('a')"],
)
def test_what_argo_cd_does_not_have_is_missing_here_too(library: str) -> None:
    with pytest.raises(lua51.LuaError):
        run(f"return {library}", {})


# ---- the forms that users copy


def test_generated_files_are_current() -> None:
    command = [sys.executable, ROOT / "ci/argocd.py", "--check"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_all_forms_say_the_same() -> None:
    """The ConfigMap, the values of argo-helm and the operator's object, and the scripts themselves."""
    settings = load(ARGOCD / "argocd-cm.yaml")["data"]
    assert load(ARGOCD / "argo-helm-values.yaml") == {"configs": {"cm": settings}}
    spec = load(ARGOCD / "argocd-operator.yaml")["spec"]
    said = dict(spec["extraConfig"])
    for what, key, field in (
        ("health", "resourceHealthChecks", "check"),
        ("actions", "resourceActions", "action"),
    ):
        for one in spec[key]:
            said[f"resource.customizations.{what}.{one['group']}_{one['kind']}"] = one[field]
    assert said == settings
    for kind in KINDS:
        name = f"kubernetes.dask.org_{kind}"
        assert (
            settings[f"resource.customizations.health.{name}"]
            == (FOLDER / kind / "health.lua").read_text()
        )
        scripts = {
            path.parent.name: path.read_text()
            for path in FOLDER.glob(f"{kind}/actions/*/action.lua")
        }
        text = settings.get(f"resource.customizations.actions.{name}")
        told = yaml.safe_load(text) if text else {"definitions": []}
        assert {one["name"]: one["action.lua"] for one in told["definitions"]} == scripts
    (link,) = yaml.safe_load(settings["resource.links"])
    assert "status.dashboardAddress" in link["url"]
