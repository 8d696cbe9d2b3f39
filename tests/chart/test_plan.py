"""`dask-gitops plan` on values: rendered by the real Helm, checked against the chart's own definitions."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from dask_gitops.cli.plan.main import main

from tests.chart.conftest import ROOT, Helm, examples

Plan = Callable[..., tuple[int, str, str]]

# The example of docs/plan.md: values, values after a change, and what the command says.
BEFORE, AFTER, TOLD = re.findall(
    r"^```(?:yaml)?\n(.+?)^```$", (ROOT / "docs/plan.md").read_text(), re.MULTILINE | re.DOTALL
)[:3]
COMMAND, _, SAID = TOLD.partition("\n")


@pytest.fixture
def plan(
    helm: Helm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Plan:
    """Run it in an empty folder: exit code, output, errors."""
    monkeypatch.chdir(tmp_path)

    def run(*args: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            main(["plan", "--helm", helm.program, *args])
        out, err = capsys.readouterr()
        assert isinstance(end.value.code, int)
        return end.value.code, out, err

    return run


def test_values(plan: Plan, tmp_path: Path) -> None:
    (tmp_path / "old.yaml").write_text(BEFORE)
    (tmp_path / "new.yaml").write_text(AFTER)
    words = COMMAND.replace("--chart .", f"--chart {ROOT}").split()
    assert plan(*words[3:]) == (3, SAID, "")


def test_the_last_values_file_is_the_strongest(plan: Plan, tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(BEFORE)
    (tmp_path / "env.yaml").write_text("clusters: {analytics: {worker: {replicas: 12}}}")
    sides = ("--from", "base.yaml", "--to", "base.yaml", "env.yaml")
    code, out, _ = plan("--chart", str(ROOT), *sides)
    assert (code, out.splitlines()[0]) == (0, "cluster analytics    2 more workers, 10 to 12")


def test_a_new_chart_restarts_nobody(plan: Plan, tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(BEFORE)
    (tmp_path / "up.yaml").write_text(
        "controller: {image: {tag: 9.9.9}, daskImage: example.com/dask:9, logLevel: debug}"
    )
    sides = ("--from", "base.yaml", "--to", "base.yaml", "up.yaml")
    code, out, _ = plan("--chart", str(ROOT), *sides)
    assert (code, out.partition(";")[0]) == (0, "nothing changes")


def test_what_helm_refuses(plan: Plan, tmp_path: Path) -> None:
    (tmp_path / "old.yaml").write_text(BEFORE)
    (tmp_path / "new.yaml").write_text("clusters: {demo: {wroker: {}}}")
    code, out, err = plan("--chart", str(ROOT), "--from", "old.yaml", "--to", "new.yaml")
    assert (code, out) == (2, "")
    assert err.startswith("error: helm template with new.yaml: ")
    assert "wroker" in err


@pytest.mark.parametrize("path", examples(), ids=lambda path: path.name)
def test_every_values_file(plan: Plan, path: Path, tmp_path: Path) -> None:
    (tmp_path / "none.yaml").touch()
    code, _, err = plan("--chart", str(ROOT), "--from", "none.yaml", "--to", str(path))
    assert (code, err) == (0, "")


def test_revisions_of_values_and_chart(plan: Plan, tmp_path: Path) -> None:
    """The chart of each revision renders the values of that revision."""
    chart = tmp_path / "deploy/chart"
    for name in ("Chart.yaml", "values.yaml", "values.schema.json", "templates", "charts"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        chart.mkdir(parents=True, exist_ok=True)
        copy(ROOT / name, chart / name)

    def git(*args: str) -> None:
        who = ["-c", "user.name=n", "-c", "user.email=n@example.com"]
        subprocess.run(["git", *who, *args], cwd=tmp_path, check=True)

    def commit() -> None:
        git("add", "--all")
        git("commit", "--quiet", "--message", "x")

    git("init", "--quiet")
    (tmp_path / "deploy/values.yaml").write_text(BEFORE)
    commit()
    (tmp_path / "deploy/values.yaml").write_text(AFTER)
    commit()
    template = chart / "templates/daskcluster.yaml"
    template.write_text(template.read_text() + "\n{{ fail `not yet` }}\n")
    files = ("--values", "deploy/values.yaml", "--chart", "deploy/chart")
    code, out, _ = plan("--git", "HEAD~1..HEAD", *files)
    assert (code, out) == (3, SAID)
    code, _, err = plan("--git", "HEAD", *files)
    assert code == 2
    assert "not yet" in err


@pytest.mark.parametrize(
    ("change", "label", "code", "comment"),
    [
        ("replicas: 5", False, 0, ":white_check_mark: **Dask: no scheduler restarts"),
        ("replicas: 0", False, 3, ":warning: **Dask: this restarts"),
        ("replicas: 0", True, 0, ":warning: **Dask: this restarts"),
        ("replicsa: 0", True, 2, "The plan failed:"),
    ],
)
def test_the_sample_for_pull_requests(
    helm: Helm, tmp_path: Path, change: str, label: bool, code: int, comment: str
) -> None:
    """Its step, run as it stands, with a `gh` that writes down what it is called with."""
    workflow = yaml.safe_load((ROOT / "gitops/ci/github-actions.yaml").read_text())
    (step,) = (s for s in workflow["jobs"]["plan"]["steps"] if s.get("name") == "Plan")
    tools, here = tmp_path / "tools", tmp_path / "repository"
    for folder in (tools, here / "clusters"):
        folder.mkdir(parents=True)
    scripts = {
        "gh": 'echo "$@" > "$TOOLS/asked"; cat plan.md > "$TOOLS/comment"',
        "dask-gitops": f'PYTHONPATH={ROOT}/controller exec {sys.executable} -m dask_gitops.cli "$@"',
    }
    for name, text in scripts.items():
        (tools / name).write_text(f"#!/bin/sh\n{text}\n")
        (tools / name).chmod(0o755)
    env = {
        **os.environ,
        **{key: str(value) for key, value in workflow["env"].items()},
        "PATH": f"{tools}:{os.environ['PATH']}",
        "TOOLS": str(tools),
        "CHART": str(ROOT),
        "HELM": helm.program,
        "RANGE": "HEAD~1...HEAD",
        "NUMBER": "7",
        "MAY_DISRUPT": str(label).lower(),
        "GITHUB_STEP_SUMMARY": str(tools / "summary"),
    }
    assert step["env"].keys() <= {*env, "GH_TOKEN"}
    git = ["git", "-c", "user.name=n", "-c", "user.email=n@example.com", "-C", str(here)]
    subprocess.run([*git, "init", "--quiet"], check=True)
    for text in ("replicas: 3", change):
        (here / env["VALUES"]).write_text(f"clusters: {{demo: {{worker: {{{text}}}}}}}")
        subprocess.run([*git, "add", "--all"], check=True)
        subprocess.run([*git, "commit", "--quiet", "--message", "x"], check=True)
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
    done = subprocess.run(command, cwd=here, env=env, capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    assert (tools / "comment").read_text().startswith(comment)
    assert (tools / "summary").read_text() == (tools / "comment").read_text()
    assert (tools / "asked").read_text().startswith("pr comment 7 ")
