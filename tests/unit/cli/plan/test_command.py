"""The command as people call it: files in, words and an exit code out."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from dask_gitops.cli.plan.main import main

CLUSTER = """\
apiVersion: kubernetes.dask.org/v1
kind: DaskCluster
metadata: {name: demo, namespace: a}
spec: {worker: {replicas: 3}, restartedAt: 2026-01-31T12:00:00Z}
"""
OTHERS = """\
---
apiVersion: v1
kind: ConfigMap
metadata: {name: x}
---
apiVersion: v1
kind: List
items:
  - {apiVersion: v1, kind: Secret, metadata: {name: x}}
  - {apiVersion: v1, kind: Secret, metadata: {name: y}}
---
"""
CRD = """\
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
spec:
  group: kubernetes.dask.org
  names: {kind: DaskCluster}
  versions:
    - schema:
        openAPIV3Schema:
          type: object
          properties:
            spec:
              type: object
              properties:
                worker: {type: object, properties: {replicas: {type: integer, minimum: 0}}}
                maxSurge: {x-kubernetes-int-or-string: true}
"""
GROUP = """\
apiVersion: kubernetes.dask.org/v1
kind: DaskWorkerGroup
metadata: {name: gpu, namespace: a}
spec: {cluster: demo}
"""
CONTROLLER = """\
apiVersion: apps/v1
kind: Deployment
spec: {template: {spec: {containers: [{env: [{name: DASK_GITOPS_WORKERS_PER_GROUP, value: "2"}]}]}}}
"""
MORE = CLUSTER.replace("replicas: 3", "replicas: 5")
NONE = CLUSTER.replace("replicas: 3", "replicas: 0")

ROOT = Path(__file__).parents[4]
Plan = Callable[..., tuple[int, str, str]]


@pytest.fixture
def plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Plan:
    """Run it in an empty folder: exit code, output, errors. Arguments that are no text are written to files first."""
    monkeypatch.chdir(tmp_path)

    def run(*args: str, **files: str) -> tuple[int, str, str]:
        for name, text in files.items():
            path = tmp_path / f"{name}.yaml"
            path.write_text(text, encoding="utf-8")
        with pytest.raises(SystemExit) as end:
            main(["plan", *args])
        out, err = capsys.readouterr()
        assert isinstance(end.value.code, int)
        return end.value.code, out, err

    return run


SIDES = ("--from", "old.yaml", "--to", "new.yaml")


def test_text(plan: Plan) -> None:
    code, out, err = plan(*SIDES, old=CLUSTER, new=OTHERS + MORE)
    assert (code, err) == (0, "")
    assert out == (
        "cluster demo    2 more workers, 3 to 5\n"
        "                changed: worker.replicas\n"
        "nothing else changes; 3 objects of other kinds not looked at\n"
        "no scheduler restarts, and no work or result is lost\n"
    )


def test_nothing_changes(plan: Plan) -> None:
    assert plan(*SIDES, old=CLUSTER, new=CLUSTER) == (0, "nothing changes\n", "")


def test_nothing_is_declared(plan: Plan) -> None:
    said = "nothing changes: neither side declares a Dask object"
    assert plan(*SIDES, old="", new="") == (0, f"{said}\n", "")
    assert plan(*SIDES, old="", new=OTHERS)[1].startswith(f"{said}; 3 objects of other kinds")


def test_what_is_taken_away_is_not_looked_at_either(plan: Plan) -> None:
    said = "nothing changes; 3 objects of other kinds not looked at\n"
    assert plan(*SIDES, old=CLUSTER + OTHERS, new=CLUSTER)[1] == said
    assert plan(*SIDES, old=CLUSTER + OTHERS, new=CLUSTER + OTHERS)[1] == said


def test_what_is_lost_has_an_exit_code_of_its_own(plan: Plan) -> None:
    code, out, _ = plan(*SIDES, old=CLUSTER, new=NONE)
    assert code == 3
    assert out.startswith("cluster demo  ! all 3 workers leave, handing over their results; ")
    assert out.endswith("this restarts a scheduler, or loses work or results\n")


def test_names_are_qualified_where_there_are_several_namespaces(plan: Plan) -> None:
    other = CLUSTER.replace("namespace: a", "namespace: b")
    old, new = f"{CLUSTER}---\n{other}", f"{MORE}---\n{other}"
    assert plan(*SIDES, old=old, new=new)[1].startswith("cluster demo    2 more")
    out = plan(*SIDES, old="", new=new)[1]
    assert out.startswith("cluster a/demo    added: a scheduler and 5 workers\n")
    assert "cluster b/demo    added: a scheduler and 3 workers\n" in out


def test_an_object_without_a_namespace_is_in_the_one_that_is_named(plan: Plan) -> None:
    text = CLUSTER.replace(", namespace: a", "")
    found = plan(*SIDES, "--namespace", "c", "--output", "json", old="", new=text)[1]
    assert json.loads(found)["changes"][0]["namespace"] == "c"


def test_json(plan: Plan) -> None:
    code, out, _ = plan(*SIDES, "--output", "json", old=CLUSTER, new=OTHERS + NONE)
    found = json.loads(out)
    (change,) = found.pop("changes")
    assert found == {
        "disruptive": True,
        "exitCode": code,
        "ignored": {"ConfigMap": 1, "Secret": 2},
    }
    (effect,) = change.pop("effects")
    assert change == {
        "kind": "cluster",
        "namespace": "a",
        "name": "demo",
        "changed": ["worker.replicas"],
    }
    assert (effect["what"], effect["workers"], effect["disruptive"]) == ("down", 3, True)


def test_the_words_for_programs_are_documented() -> None:
    code = "".join(p.read_text() for p in (ROOT / "controller/dask_gitops/cli/plan").glob("*.py"))
    words = set(re.findall(r'Effect\(\s*"([a-z-]+)"', code))
    listed = re.search(r"`what` is one of (.+?)\.", (ROOT / "docs/plan.md").read_text(), re.DOTALL)
    assert listed is not None
    assert set(re.findall(r"`([a-z-]+)`", listed[1])) == words


def test_markdown(plan: Plan) -> None:
    code, out, _ = plan(*SIDES, "--output", "markdown", old=CLUSTER, new=NONE)
    assert code == 3
    lines = out.splitlines()
    assert lines[0].startswith(":warning: **Dask: this restarts")
    assert lines[4].startswith("| cluster demo | :warning: all 3 workers leave")
    assert lines[4].endswith("| `worker.replicas` |")
    assert plan(*SIDES, "--output", "markdown", old=CLUSTER, new=CLUSTER)[1] == (
        "Dask: nothing changes\n"
    )


def test_folders_and_pipes(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "all/inner").mkdir(parents=True)
    (tmp_path / "all/inner/demo.yml").write_text(CLUSTER)
    (tmp_path / "all/other.json").write_text('{"kind": "Pod", "apiVersion": "v1"}')
    (tmp_path / "all/README.md").write_text("[")
    monkeypatch.setattr("sys.stdin", io.StringIO(MORE))
    code, out, _ = plan("--from", "all", "--to", "-")
    assert (code, out.splitlines()[0]) == (0, "cluster demo    2 more workers, 3 to 5")


@pytest.mark.parametrize(
    ("new", "said"),
    [
        ("a: [1\nb: 2\n", "new.yaml, line 2: this is no YAML that Kubernetes reads: "),
        ("clusters: {demo: {}}", "new.yaml, document 1: this is no Kubernetes object"),
        ("- 1", "new.yaml, document 1: this is no Kubernetes object"),
        (CLUSTER.replace("name: demo, ", ""), "DaskCluster: metadata.name is missing"),
        (CLUSTER.replace("spec: {", "spec: [{").replace("Z}", "Z}]"), "DaskCluster demo: spec must be a map"),
        *(
            (CLUSTER.replace("kubernetes.dask.org/v1", version), f"new.yaml, document 1: DaskCluster has apiVersion {told}; expected kubernetes.dask.org/v1\n")
            for version, told in (
                ("kubernetes.dask.org/v2", "'kubernetes.dask.org/v2'"),
                ("kubernetes.dask.org/v1beta1", "'kubernetes.dask.org/v1beta1'"),
                ("kubernetes.dask.org", "'kubernetes.dask.org'"),
                ("Kubernetes.Dask.org/v1", "'Kubernetes.Dask.org/v1'"),
                ("v1", "'v1'"), ("1", "1"), ("", "None"),
            )
        ),
        (f"{CLUSTER}---\n{CLUSTER}", "document 2: DaskCluster a/demo is there twice"),
        (GROUP.replace("cluster: demo", ""), "DaskWorkerGroup gpu: spec.cluster must name a DaskCluster"),
        (GROUP.replace("cluster: demo", "cluster: {}"), "DaskWorkerGroup gpu: spec.cluster must name a DaskCluster"),
        ("kind: List\nitems: 3", "document 1: this List cannot be understood"),
        ("kind: Deployment\nspec: {template: {spec: {containers: [{env: [{value: x}]}]}}}", "this Deployment cannot be understood"),
        (CRD.replace("- schema", "- scheme"), "document 1: this CustomResourceDefinition cannot be understood"),
        ("kind: A\nkind: B", "new.yaml, line 2: this is no YAML that Kubernetes reads: the key 'kind' is there twice"),
        ('{"kind": "A", "kind": "B"}', "new.yaml: this is no YAML that Kubernetes reads: the key 'kind' is there twice"),
        (CLUSTER.replace(": 3", ": three"), "DaskCluster a/demo: spec.worker.replicas: 'three' is not of type 'integer'"),
        (CLUSTER.replace(": 3", ": -3"), "DaskCluster a/demo: spec.worker.replicas: -3 is less than the minimum of 0"),
        *(
            (CLUSTER.replace(": 3", f": {number}"), "DaskCluster a/demo: spec.worker.replicas: ")
            for number in ("1e30", "1" + "0" * 30, "1" + "0" * 500, "1e400", "1.5", "'3'", "0o9", "on")
        ),
        (CLUSTER.replace(": 3", ": .NaN"), "new.yaml, line 4: this is no YAML that Kubernetes reads: '.NaN' is no number of JSON"),
        (CLUSTER.replace("3", "three") + CRD, "DaskCluster a/demo: spec.worker.replicas: 'three' is not of type 'integer'"),
        (CLUSTER.replace("3", "-3") + CRD, "DaskCluster a/demo: spec.worker.replicas: -3 is less than the minimum of 0"),
    ],
)  # fmt: skip
def test_what_cannot_be_read(plan: Plan, new: str, said: str) -> None:
    code, out, err = plan(*SIDES, old=CLUSTER, new=new)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert said in err


@pytest.mark.parametrize(
    "number", ["08", "0o10", "0x8", "8.0", "8e0", "0b1_000", "+8", "!!int '8'"]
)
def test_a_number_as_kubernetes_reads_it(plan: Plan, number: str) -> None:
    code, out, err = plan(*SIDES, old=CLUSTER, new=CLUSTER.replace(": 3", f": {number}"))
    assert (code, err) == (0, "")
    assert out.startswith("cluster demo    5 more workers, 3 to 8\n")


def test_spellings_of_the_same_are_no_change(plan: Plan) -> None:
    head = CLUSTER.partition("spec:")[0]
    old = "spec: {suspend: false, drainTimeout: 1000, worker: {replicas: 10, env: {A: 'on', 'true': '1'}}}"
    new = (
        "spec: {suspend: off, drainTimeout: 1e3, worker: {replicas: 012, env: {A: 'on', on: '1'}}}"
    )
    assert plan(*SIDES, old=head + old, new=head + new) == (0, "nothing changes\n", "")


def test_a_fault_of_ours_says_so(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever it is: an exit code of its own, one line, and never a word of the API server."""

    async def broken(world: object, key: object) -> None:
        raise KeyError("a\nb")

    def broken_too(*args: object) -> None:
        raise AssertionError

    for place, fault in (("rehearsal.reconcile", broken), ("main.tell", broken_too)):
        with monkeypatch.context() as patch:
            patch.setattr(f"dask_gitops.cli.plan.{place}", fault)
            code, out, err = plan(*SIDES, old=CLUSTER, new=MORE)
        assert (code, out) == (4, "")
        assert re.fullmatch(
            r"error: a fault of dask-gitops \S+, please report it: .*(KeyError|AssertionError) in test_command.py:\d+.*\n",
            err,
        )


def test_what_was_declared_wrongly_before_is_no_fault_of_ours(plan: Plan) -> None:
    wrong = CLUSTER.replace("worker:", "workerGroups: 3, worker:")
    code, _, err = plan(*SIDES, old=wrong, new=CLUSTER)
    assert code == 2
    assert "what was declared before cannot be understood" in err
    assert "spec.workerGroups: 3 is not of type 'array'" in err


class Full(io.StringIO):
    """A file on a disk without room."""

    def flush(self) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_an_answer_that_cannot_be_written(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", Full())
    code, _, err = plan(*SIDES, old=CLUSTER, new=MORE)
    assert code == 1
    assert err == "error: the answer cannot be written: [Errno 28] No space left on device\n"


def test_letters_that_standard_output_has_not(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", out)
    assert plan(*SIDES, old=OTHERS, new=CLUSTER.replace("demo", "démo"))[0] == 0
    out.seek(0)
    assert out.read().startswith("cluster d?mo    added: ")


def test_a_kind_of_others_is_only_called_so(plan: Plan) -> None:
    other = CLUSTER.replace("kubernetes.dask.org/v1", "example.org/v2")
    code, out, _ = plan(*SIDES, old=CLUSTER, new=f"{CLUSTER}---\n{other}")
    assert (code, out) == (0, "nothing changes; 1 object of other kinds not looked at\n")


def test_what_a_cluster_and_its_group_both_say_is_said_once(plan: Plan) -> None:
    new = f"{CONTROLLER}---\n{CLUSTER.replace(': 3', ': 5')}"
    code, out, _ = plan(*SIDES, old=OTHERS, new=new)
    assert code == 0
    assert out.count("Stalled: 5 workers of demo-default are wanted, 2 can be there") == 1


def test_a_pipe_that_holds_no_text(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\xff\xfe"), encoding="utf-8"))
    code, _, err = plan("--from", "old.yaml", "--to", "-", old=CLUSTER)
    assert code == 2
    assert "standard input: cannot be read" in err


def test_what_a_definition_takes(plan: Plan) -> None:
    spec = "spec: {maxSurge: 25%, worker: {replicas: null}, restartedAt: 2026-01-31T12:00:00Z}"
    new = f"{CLUSTER.partition('spec:')[0]}{spec}\n{CRD}"
    assert plan(*SIDES, old=CLUSTER, new=new)[0] == 0


def test_a_folder_that_is_called_like_a_file(plan: Plan, tmp_path: Path) -> None:
    (tmp_path / "old.yaml/more.yaml").mkdir(parents=True)
    assert plan(*SIDES, new=CLUSTER)[0] == 0


def test_a_group_cannot_move(plan: Plan) -> None:
    group = CLUSTER.replace("DaskCluster", "DaskWorkerGroup").partition("spec:")[0]
    old, new = (f"{group}spec: {{cluster: {name}}}\n" for name in ("one", "two"))
    code, _, err = plan(*SIDES, old=old, new=new)
    assert code == 2
    assert "DaskWorkerGroup a/demo: spec.cluster cannot be changed" in err


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ([], "give --from and --to"),
        (["--to", "old.yaml"], "give --from and --to"),
        (["--from", "lost.yaml", "--to", "old.yaml"], "lost.yaml: there is no such file or folder"),
        (["--from", "old.yaml", "--to", "old.yaml", "--values", "x"], "go with --git"),
        (["--from", "-", "--to", "-"], "standard input can be one of the sides, and only once"),
        (["--from", "old.yaml", "--to", "-", "-"], "standard input can be one of the sides, and only once"),
        (["--from", "old.yaml", "--to", "old.yaml", "--context", "moon"], "--context goes with --live"),
        (["--from", "old.yaml", "--to", "old.yaml", "--kubeconfig", "moon"], "--kubeconfig goes with --live"),
        (["--from", "old.yaml", "--to", "old.yaml", "--live", "--kubeconfig", "moon"], "--live: kubeconfig moon: No such file"),
        (["--from", "old.yaml", "--to", "old.yaml", "--live", "--kubeconfig", "~/moon"], f"--live: kubeconfig {Path.home()}/moon: No such file"),
        (["--git", "HEAD", "--from", "old.yaml"], "--git goes with either --values or --manifests"),
        (["--git", "HEAD", "--manifests", "x", "--chart", "."], "--chart goes with --values"),
        (["--from", "old.yaml", "--to", "old.yaml", "--chart", ".", "--helm", "helm5"], "helm5: there is no such program"),
        (["--from", "old.yaml", "--to", "old.yaml", "--live", "--context", "moon"], "--live: kubeconfig"),
    ],
)  # fmt: skip
def test_arguments_that_do_not_do(
    plan: Plan, monkeypatch: pytest.MonkeyPatch, args: list[str], said: str
) -> None:
    monkeypatch.setenv("KUBECONFIG", "no-such-file")
    code, _, err = plan(*args, old=CLUSTER)
    assert code == 2
    assert said in err


@pytest.mark.parametrize("words", [["--help"], ["plan", "--help"]])
def test_help_is_plain_text(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(words)
    out = capsys.readouterr().out
    assert "what a change would do" in out.lower()
    assert "`" not in out


# ---- git


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Commit a text as apps/demo.yaml (None: take the file away); returns the revision."""
    for key in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{key}_NAME", "n")
        monkeypatch.setenv(f"GIT_{key}_EMAIL", "n@example.com")

    def git(*args: str) -> str:
        done = subprocess.run(["git", *args], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    git("init", "--quiet", "--initial-branch", "main")

    def commit(text: str | None) -> str:
        file = tmp_path / "apps/demo.yaml"
        file.parent.mkdir(exist_ok=True)
        file.unlink(missing_ok=True)
        if text is not None:
            file.write_text(text)
        git("add", "--all")
        git("commit", "--quiet", "--allow-empty", "--message", "x")
        return git("rev-parse", "HEAD")

    return commit


def test_two_revisions(plan: Plan, repository: Callable[..., str], tmp_path: Path) -> None:
    first, second = repository(CLUSTER), repository(MORE)
    files = ("--manifests", "apps/demo.yaml")
    said = "cluster demo    2 more workers, 3 to 5"
    assert plan("--git", f"{first}..{second}", *files)[1].startswith(said)
    assert plan("--git", f"{first}..", *files)[1].startswith(said)
    assert plan("--git", f"{second}..{second}", *files)[1] == "nothing changes\n"
    (tmp_path / "apps/demo.yaml").write_text(NONE)
    assert plan("--git", second, *files)[0] == 3
    os.chdir(tmp_path / "apps")
    assert plan("--git", f"{first}..{second}", "--manifests", "demo.yaml")[1].startswith(said)
    assert plan("--git", f"{first}..{second}", "--manifests", ".")[1].startswith(said)


def test_a_file_that_is_new_or_gone(plan: Plan, repository: Callable[..., str]) -> None:
    revisions = [repository(None), repository(CLUSTER), repository(None)]
    files = ("--manifests", "apps/demo.yaml")
    code, out, _ = plan("--git", f"{revisions[0]}..{revisions[1]}", *files)
    assert (code, out.splitlines()[0]) == (0, "cluster demo    added: a scheduler and 3 workers")
    assert plan("--git", f"{revisions[1]}..{revisions[2]}", *files)[0] == 3


def test_since_the_branch_left(plan: Plan, repository: Callable[..., str], tmp_path: Path) -> None:
    repository(CLUSTER)
    subprocess.run(["git", "checkout", "--quiet", "-b", "feature"], cwd=tmp_path, check=True)
    repository(MORE)
    subprocess.run(["git", "checkout", "--quiet", "main"], cwd=tmp_path, check=True)
    repository(NONE)  # somebody else's, not of this branch
    files = ("--manifests", "apps/demo.yaml")
    assert plan("--git", "main...feature", *files)[1].startswith("cluster demo    2 more")


@pytest.mark.parametrize("revision", ["moon", "main..moon", "--help", "main...moon"])
def test_a_revision_that_git_does_not_know(
    plan: Plan, repository: Callable[..., str], revision: str
) -> None:
    repository(CLUSTER)
    code, _, err = plan(f"--git={revision}", "--manifests", "apps/demo.yaml")
    assert code == 2
    assert "is no revision that git knows here" in err


def test_a_file_that_no_revision_has(plan: Plan, repository: Callable[..., str]) -> None:
    repository(CLUSTER)
    code, _, err = plan("--git", "HEAD..HEAD", "--manifests", "apps/domo.yaml")
    assert (code, err) == (2, "error: apps/domo.yaml: neither of the two revisions has it\n")
