"""``support-bundle``: all that helps, and none of what nobody may see."""

from __future__ import annotations

import json
import stat
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from dask_gitops.cli import shell
from dask_gitops.cli.bundle.redact import OUT, Redactor
from dask_gitops.kube import (
    DASKCLUSTERS,
    DASKJOBS,
    EVENTS,
    PODS,
    SERVICES,
    ApiError,
)

from tests.unit.cli.conftest import Typed
from tests.unit.cli.test_doctor import Server

#: Where each of them is planted.
SECRETS = {
    "env of the scheduler": "hunter2-scheduler",
    "env of a worker's sidecar": "s3cr3t/sidecar+value==",
    "env of an init container": "init-only-value",
    "env of a job": "value-of-a-job",
    "env that a program prints": "printed-by-a-program",
    "env of several lines": "first line\nsecond: line",
    "env that is a number": "90210777",
    "line of an env in a log": "-- 2nd line of a config",
    "header of a probe": "probe-header-6",
    "env in the copy of kubectl": "only-in-the-copy",
    "password in a URL of args": "url-pass-1",
    "password in a URL of an annotation": "url-pass-2",
    "password in a URL of a log": "url-p4ss!3",
    "token in a URL, alone": "ghp_abcdefghijklmnop1234",
    "option with =": "equals-option-9",
    "option with a blank": "blank-option-8",
    "option in a shell text": "shell-option-7",
    "bearer in a log": "Zm9vYmFyYmF6cXV4",
    "web token in an Event": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJlLXg",
    "token of Jupyter": "7f3c9a1b2d4e5f60718293a4b5c6d7e8",
    "access key": "AKIAIOSFODNN7EXAMPLE",
    "secret key in a log": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "private key in a log": "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC",
    "JSON in a log": "json-value-5",
    "kubeconfig in a log": "a3ViZWNvbmZpZy1rZXktZGF0YQ==",
    "label": "label-token-4",
    "status message": "message-pass-3",
    "previous log": "hf_previousPrevious12",
    "words of the doctor": "doctor-pass-2",
    "AWS signature": "fe5f80f77d5fa3beca038a248ff027d0",
}  # fmt: skip
S = SECRETS


def env(*values: str) -> list[dict[str, str]]:
    return [{"name": f"V{at}", "value": value} for at, value in enumerate(values)]


LOG = f"""\
2030-01-01T00:00:00.000000001Z distributed.scheduler - INFO - Registering Worker tcp://10.1.4.7:43117
2030-01-01T00:00:01Z started with {S["env that a program prints"]}!
2030-01-01T00:00:02Z connecting to postgresql://ann:{S["password in a URL of a log"]}@db.example.org:5432/x
2030-01-01T00:00:03Z > Authorization: Bearer {S["bearer in a log"]}
2030-01-01T00:00:04Z http://127.0.0.1:8787/jupyter/lab?token={S["token of Jupyter"]}&x=1
2030-01-01T00:00:05Z found {S["access key"]}, aws_secret_access_key = {S["secret key in a log"]}
2030-01-01T00:00:06Z -----BEGIN PRIVATE KEY-----
{S["private key in a log"]}
-----END PRIVATE KEY-----
2030-01-01T00:00:07Z {{"user": "ann", "clientSecret": "{S["JSON in a log"]}", "tasks": 5}}
2030-01-01T00:00:08Z     client-key-data: {S["kubeconfig in a log"]}
2030-01-01T00:00:09Z GET https://s3/x?X-Amz-Signature={S["AWS signature"]}
2030-01-01T00:00:10Z git clone https://{S["token in a URL, alone"]}@example.org/x
2030-01-01T00:00:10Z   {S["line of an env in a log"]}
2030-01-01T00:00:11Z 17 tests passed: all tasks done
"""


class Full(Server):
    """Has a secret in every place that it has."""

    def __init__(self, typed: Typed) -> None:
        super().__init__(typed)
        self.typed = typed

    async def logs(self, namespace: str, name: str, **options: Any) -> str:
        if name == "demo-worker":
            raise ApiError(400, "BadRequest", "ContainerCreating")
        return f"x {S['previous log']}\n" if options["previous"] else LOG


def plant(typed: Typed) -> None:
    containers = [
        {
            "name": "scheduler",
            "image": "ghcr.io/dask/dask:1",
            "env": [
                *env(S["env of the scheduler"], S["env that a program prints"], S["env of several lines"], S["env that is a number"]),
                {"name": "DASK_WORKER_NAME", "value": "demo-worker"},
                {"name": "FROM", "valueFrom": {"secretKeyRef": {"name": "vault", "key": "x"}}},
            ],
            "args": [
                "dask-scheduler",
                f"--db=mysql://ann:{S['password in a URL of args']}@db/x",
                f"--api-token={S['option with =']}",
                "--password",
                S["option with a blank"],
            ],
        },
        {"name": "sidecar", "env": env(S["env of a worker's sidecar"], f"[x]\n{S['line of an env in a log']}\n"),
         "livenessProbe": {"httpGet": {"httpHeaders": [{"name": "X-Key", "value": S["header of a probe"]}]}}, "command": ["sh", "-c", f"run --auth-token '{S['option in a shell text']}' --fast"]},
    ]  # fmt: skip
    spec = {
        "containers": containers,
        "initContainers": [{"name": "init", "env": env(S["env of an init container"])}],
    }
    copy = json.dumps({"spec": {"env": env(S["env in the copy of kubectl"])}})
    typed.put(
        DASKCLUSTERS,
        "demo",
        metadata={
            "annotations": {
                "kubectl.kubernetes.io/last-applied-configuration": copy,
                "example.com/db": f"redis://:{S['password in a URL of an annotation']}@cache:6379",
            },
            "labels": {"example.com/token": S["label"]},
        },
        spec={"scheduler": {"spec": spec}},
        status={"conditions": [{"type": "Ready", "status": "False", "message": f"webhook: password={S['status message']} refused"}]},
    )  # fmt: skip
    job = {"job": {"spec": {"containers": [{"name": "job", "env": env(S["env of a job"])}]}}}
    typed.put(DASKJOBS, "demo-job", spec=job)
    for component in ("scheduler", "worker"):
        marks = {"dask.org/cluster-name": "demo", "dask.org/component": component}
        typed.put(PODS, f"demo-{component}", metadata={"labels": marks}, spec=spec)
        typed.put(SERVICES, f"demo-{component}", metadata={"labels": marks}, spec={})
    typed.put(PODS, "other", spec={"containers": []})
    typed.put(
        EVENTS,
        "demo.1",
        involvedObject={"kind": "Pod", "name": "demo-scheduler"},
        message=f"failed with {S['web token in an Event']}",
    )


@pytest.fixture
def full(typed: Typed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Full:
    found = Full(typed)
    found.user = {"userInfo": {"username": f"ann password={S['words of the doctor']}"}}
    monkeypatch.setattr(shell, "connect", lambda credentials: found)
    monkeypatch.chdir(tmp_path)
    plant(typed)
    return found


def unpacked(path: Path) -> dict[str, str]:
    with tarfile.open(path) as archive:
        found = {}
        for member in archive.getmembers():
            file = archive.extractfile(member)
            assert file is not None
            found[member.name.partition("/")[2]] = file.read().decode()
        return found


@pytest.mark.parametrize("words", [["demo"], []])
def test_no_secret_is_in_it(full: Full, words: list[str]) -> None:
    assert len(SECRETS) >= 25
    document = full.typed.document("support-bundle", *words)
    path = Path(document["file"])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    found = unpacked(path)
    assert sorted(found) == document["contains"]
    for where, secret in SECRETS.items():
        for part in secret.split("\n"):
            holders = [name for name, text in found.items() if part in text]
            assert not holders, f"{where}: {holders}"


def test_what_helps_is_in_it(full: Full) -> None:
    name = full.typed.done("support-bundle", "demo").strip()
    assert name.startswith("dask-gitops-team-b-demo-")
    found = unpacked(Path(name))
    assert set(found) == {
        "README.txt",
        "doctor.json",
        "logs/demo-scheduler.log",
        "logs/demo-scheduler.previous.log",
        "logs/demo-worker.log",
        "objects/daskclusters.yaml",
        "objects/daskjobs.yaml",
        "objects/events.yaml",
        "objects/pods.yaml",
        "objects/services.yaml",
        "versions.json",
    }
    (cluster,) = yaml.safe_load_all(found["objects/daskclusters.yaml"])
    scheduler, sidecar = cluster["spec"]["scheduler"]["spec"]["containers"]
    assert [each["name"] for each in scheduler["env"]][:2] == ["V0", "V1"]
    assert scheduler["env"][0]["value"] == OUT
    assert scheduler["env"][-1]["valueFrom"] == {"secretKeyRef": {"name": "vault", "key": "x"}}
    assert scheduler["env"][-2]["value"] == "demo-worker"
    assert scheduler["args"] == [
        "dask-scheduler",
        f"--db=mysql://{OUT}@db/x",
        f"--api-token={OUT}",
        "--password",
        OUT,
    ]
    assert sidecar["command"][2] == f"run --auth-token {OUT} --fast"
    assert scheduler["image"] == "ghcr.io/dask/dask:1"
    pods = list(yaml.safe_load_all(found["objects/pods.yaml"]))
    assert [pod["metadata"]["name"] for pod in pods] == ["demo-scheduler", "demo-worker"]
    log = found["logs/demo-scheduler.log"]
    assert "Registering Worker tcp://10.1.4.7:43117\n" in log
    assert "17 tests passed: all tasks done\n" in log
    assert '"tasks": 5' in log
    assert f"/jupyter/lab?token={OUT}&x=1" in log
    assert found["logs/demo-worker.log"] == "no log: ContainerCreating\n"
    assert len(json.loads(found["doctor.json"])) == 15
    assert json.loads(found["versions.json"])["kubernetes"] == "v1.35.2"
    assert "cluster demo, at " in found["README.txt"]


def test_what_may_not_be_read_is_told(full: Full) -> None:
    message = (
        'x: User "ann" cannot list resource "events" in API group "" in the namespace "team-b"'
    )
    full.typed.api.fault("list", EVENTS, error=ApiError(403, "Forbidden", message), times=None)
    result = full.typed("support-bundle", "--file", "here.tgz")
    assert (result.exit_code, result.stdout) == (0, "here.tgz\n")
    assert result.stderr.startswith("not in it: events: user 'ann' may not list events")
    found = unpacked(Path("here.tgz"))
    assert "objects/events.yaml" not in found
    assert "Not here: events: user 'ann' may not" in found["README.txt"]


def test_nothing_is_written_over(full: Full) -> None:
    Path("here.tgz").write_text("mine")
    assert "File exists: 'here.tgz'" in full.typed.refused(
        1, "support-bundle", "--file", "here.tgz"
    )
    assert Path("here.tgz").read_text() == "mine"
    assert "No such file" in full.typed.refused(1, "support-bundle", "--file", "no/where.tgz")
    assert full.typed.refused(1, "support-bundle", "gone").startswith(
        "error: no DaskCluster 'gone'"
    )


@pytest.mark.parametrize(
    "text",
    [
        "distributed.worker - INFO - Starting established connection to tcp://10.0.0.1:8786",
        "key: ('sum-1f2e', 0), tasks: 7, session closed",
        "http://demo-scheduler.team-b.svc:8787/status",
        "author: ann, design=new, passed: 5, sortkey=a",
        "ImagePullBackOff: ghcr.io/acme/x@sha256:abc: not found",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert Redactor([]).text(text) == text


@pytest.mark.parametrize("text", ["a" * 400_000, "a-" * 200_000, "token" * 60_000, "-----BEGIN X-----" * 9_000, "--password " * 30_000, "'" * 200_000, "https://" * 40_000])  # fmt: skip
def test_however_long_a_line_is(text: str) -> None:
    began = time.process_time()
    Redactor([{"env": env("some value")}]).text(text)
    once = time.process_time() - began
    began = time.process_time()
    Redactor([{"env": env("some value")}]).text(text + text)
    assert time.process_time() - began < 4 * once + 0.5, "twice the text takes some twice the time"
