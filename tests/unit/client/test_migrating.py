"""docs/migrating.md says what is: each block runs, each word in its tables is known."""

from __future__ import annotations

import inspect
import re
import shlex
from pathlib import Path
from typing import Any

import dask_gitops
import pytest
import yaml
from click.testing import CliRunner
from dask_gitops import KubeCluster
from dask_gitops.cli.convert.command import convert
from dask_gitops.cli.group import gitops
from dask_gitops.client import who
from dask_gitops.client.classic.front import hear
from dask_gitops.client.classic.spoken import KEYS, WORDS
from dask_gitops.client.settings import KEYS as OURS
from dask_gitops.client.settings import configured, settings
from dask_gitops.client.wanted import wanted

from tests.support.conversions import CHART, CLASSIC, OPERATOR

TEXT = (Path(__file__).parents[3] / "docs/migrating.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
POD = {"spec": {"containers": [{"name": "dask", "image": "dask:1", "args": ["dask-worker"]}]}}


def section(title: str) -> str:
    return TEXT.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


class Played(KubeCluster):
    """Everything but Kubernetes: what is asked of it is checked by its signatures, and by what it would make."""

    def __init__(self, *words: Any, **given: Any) -> None:
        inspect.signature(KubeCluster.__init__).bind(self, *words, **given)
        ours = {
            name: given.get(name)
            for name, one in inspect.signature(KubeCluster).parameters.items()
            if one.kind is one.KEYWORD_ONLY
        }
        more = {key: value for key, value in given.items() if key not in ours}
        heard = hear(ours, words[0] if words else None, more, ())
        self._settings = settings(heard.given, configured())
        self.made = wanted(self._settings, heard.given, who.tokens(), pods=heard.pods)

    def _ask(self, what: Any) -> Any:
        return None

    def to_manifest(self) -> dict[str, Any]:
        return self.made.objects.cluster

    def close(self, timeout: float | None = None) -> Any:
        return None

    def get_client(self) -> Any:
        return None

    def __exit__(self, *error: object) -> None:
        pass

    def __enter__(self) -> Played:
        return self

    def __del__(self) -> None:
        pass


def test_every_block_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(dask_gitops, "KubeCluster", Played)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    config = {
        "clusters": [{"name": "c", "cluster": {"server": "https://10.0.0.1:6443"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "current-context": "x",
    }
    (tmp_path / "config").write_text(yaml.safe_dump(config))
    (tmp_path / "worker-spec.yml").write_text(yaml.safe_dump(POD))
    names: dict[str, Any] = {}
    assert BLOCKS
    for block in BLOCKS:
        exec(compile(block, "docs/migrating.md", "exec"), names)
    assert "'kind': 'DaskCluster'" in capsys.readouterr().out


def test_every_command_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in (
        ("worker-spec.yml", CLASSIC["documented"]),
        ("scheduler-spec.yml", CLASSIC["unbounded"]),
        ("clusters.yaml", OPERATOR["all"]),
        ("dask-values.yaml", CHART["usual"]),
    ):
        (tmp_path / name).write_text(text)
    lines = [line for block in re.findall(r"^```bash\n(.*?)^```$", TEXT, re.M | re.S) for line in block.splitlines()]  # fmt: skip
    assert len(lines) == 5
    codes = []
    for line in lines:
        piped, bar, command = line.rpartition(" | ")
        words = shlex.split(command)
        assert words[0] == "dask-gitops"
        text = (tmp_path / piped.removeprefix("cat ")).read_text() if bar else None
        done = CliRunner().invoke(gitops, words[1:], input=text)
        assert done.stdout
        codes.append(done.exit_code)
    assert codes == [3, 0, 0, 0, 3]


def test_every_option_is_told() -> None:
    told = set(re.findall(r"--[a-z]+", section("dask-gitops convert")))
    assert told == {opt for one in convert.params for opt in one.opts if opt.startswith("--")}


def test_every_value_that_is_named_exists() -> None:
    """In the second column, as docs/values.md lists them; in the first, as that chart's values have them."""
    values = (Path(__file__).parents[3] / "docs/values.md").read_text()
    rows = re.findall(r"^\| (.*?) \| (.*?) \|$", section("From the dask/dask chart and HelmCluster"), re.M)  # fmt: skip
    for _, here in rows[2:]:
        for name in re.findall(r"`([a-z][A-Za-z.]+)`", here):
            last = name.rpartition(".")[2]
            assert f"`{last}" in values or f".{last}`" in values or last in ("args",), name


def test_every_word_of_the_classic_one_is_told() -> None:
    told = set(re.findall(r"`([A-Za-z_.\-]+)[`=]", section("From the classic KubeCluster")))
    told |= {f"kubernetes.{one}" for one in told}
    assert set(WORDS) - {"silence_logs"} <= told
    assert {f"kubernetes.{key}" for key in KEYS.values()} - {
        f"kubernetes.{WORDS[one]}"
        for one in ("host", "port", "interface", "protocol", "dashboard_address", "deploy_mode",
                    "scheduler_service_wait_timeout", "scheduler_service_name_resolution_retries")
    } - {"kubernetes.scheduler-template-path"} <= told  # fmt: skip
    for key in ("name", "namespace", "count.start", "count.max", "env", "idle-timeout"):
        assert key in OURS.values()
        assert f"kubernetes.{key}" in told
