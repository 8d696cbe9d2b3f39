"""The local Kubernetes' tool, killed at moments that no test of the whole could hit."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

KUBERNETES = Path(__file__).parents[2] / "ci/kubernetes"


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> SimpleNamespace:
    """Its rooms, with instances in a folder of the test's own."""
    monkeypatch.syspath_prepend(KUBERNETES)
    monkeypatch.setenv("DASK_GITOPS_STATE", str(tmp_path / "state"))
    names = ("cleanup", "common", "lifecycle", "node", "processes")
    return SimpleNamespace(**{name: importlib.import_module(name) for name in names})


# The tool does not wait for what it starts: that outlives it.
@pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")
def test_what_was_started_and_not_yet_recorded_is_ended(
    tool: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "state" / "a"
    script = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'input()'], stdin=0)"
    command = (sys.executable, "-c", f"import os; r, w = os.pipe(); os.dup2(r, 0); {script}")
    for name in ("a", "another"):
        component = tool.processes.Component("sleeper", command, 0)
        tool.processes.start(tmp_path / "state" / name, component)
    (pid,) = [record.pid for record in tool.processes.records(folder)]
    (folder / "processes/sleeper.json").unlink()
    assert pid in tool.processes.marked(folder)
    tool.lifecycle.down(["a"])
    assert not tool.processes.marked(folder)
    (other,) = tool.processes.records(tmp_path / "state/another")
    assert other.alive()
    tool.lifecycle.down(["another"])
    assert not other.alive()
    assert not (tmp_path / "state").exists()


def test_a_folder_with_nothing_in_it_goes(tool: SimpleNamespace, tmp_path: Path) -> None:
    """As of an `up` that was killed at its first step, or a `down` at its last."""
    (tmp_path / "state/a").mkdir(parents=True)
    tool.lifecycle.down(["a"])
    assert not (tmp_path / "state").exists()


def test_what_the_machine_was_like_is_written_whole(
    tool: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in the middle of that, nothing was changed, and nothing is put back."""

    def killed(path: Path, text: str) -> None:
        with path.open("w") as file:
            file.write(text[: len(text) // 2])
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_text", killed)
    with pytest.raises(KeyboardInterrupt):
        tool.cleanup.remember(tmp_path)
    monkeypatch.undo()
    assert list(tmp_path.glob("before.*"))
    tool.cleanup.clean(tmp_path)
    tool.cleanup.remember(tmp_path)
    assert "kernel" in json.loads((tmp_path / "before.json").read_text())


@pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")
@pytest.mark.parametrize("elsewhere", [False, True], ids=["here", "in another state folder"])
def test_a_node_whose_processes_have_all_ended_is_in_nobodys_way(
    tool: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, elsewhere: bool
) -> None:
    """The machine was started anew, or all was killed: its network and folder are still there."""
    state = tmp_path / ("other" if elsewhere else "state")
    instance = {"slot": 0, "kwok_nodes": 0, "kwok_cidr": "", "audit_log": ""}
    for name, node in (("node", True), ("fake", False)):
        command = (sys.executable, "-c", "import time; time.sleep(600)")
        tool.processes.start(state / name, tool.processes.Component("sleeper", command, 0))
        told = json.dumps({"name": name, "node": node, **instance})
        (state / name / "instance.json").write_text(told)
    link = state / "node"  # goes with its instance
    monkeypatch.setattr(tool.node, "owner", lambda: link if link.exists() else None)
    remedy = f"with DASK_GITOPS_STATE={state}, down" if elsewhere else "(down"
    with pytest.raises(tool.common.Problem, match="has this machine's real node already") as said:
        tool.lifecycle._only_one_node()
    assert f"{remedy} --name node)" in str(said.value)
    assert tool.lifecycle.end_dead() == 0

    for name in ("node", "fake"):
        tool.processes.stop(tool.processes.records(state / name), grace=0)
    with tool.common.lock(state / "node", "nobody"):  # somebody is about to start it
        assert tool.lifecycle.end_dead(only_node=True) == 0
    assert tool.lifecycle.end_dead(only_node=True) == 1
    tool.lifecycle._only_one_node()
    assert [path.name for path in state.iterdir()] == ["fake"]
    assert tool.lifecycle.end_dead() == (0 if elsewhere else 1)


def test_an_alias_that_names_no_instance_is_nobodys(
    tool: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its folder would be removed: others give their interfaces aliases, too."""
    (tmp_path / "home").mkdir()
    home = tmp_path / "home"
    for alias in ("", "home", str(home), str(tmp_path / "gone"), "the office's bridge"):
        monkeypatch.setattr(Path, "read_text", lambda path, alias=alias: f"{alias}\n")
        assert tool.node.owner() is None
    (home / "instance.json").touch()
    monkeypatch.setattr(Path, "read_text", lambda path: f"{home}\n")
    assert tool.node.owner() == home
