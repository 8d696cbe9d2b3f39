"""``list`` and ``status``."""

from __future__ import annotations

import asyncio
import io
from typing import Any

import pytest
from dask_gitops.cli import look, overview, screen, shell
from dask_gitops.kube import DASKAUTOSCALERS, DASKCLUSTERS, ApiError

from tests.unit.cli.conftest import ACCESS, Typed

READY = ("Ready", "True", "scheduler ready, 2 workers")
STALLED = (
    ("Ready", "False", "ImagePullBackOff: no such image [x]"),
    ("Stalled", "True", "ImagePullBackOff"),
)


def world(typed: Typed) -> None:
    """One that works, one that is broken, one of which only a group is, one that nobody has seen yet."""
    typed.cluster("good", READY, metadata={"annotations": {"dask.org/created-by": "ann@laptop"}})
    typed.group("good", "default", 2, 2, READY)
    typed.group("good", "highmem", 0, 3, ("Ready", "False", "0 of 3 ready"))
    typed.autoscaler("good", spec={"cluster": "good", "minimum": 0, "maximum": 5})
    typed.cluster("zz", *STALLED, metadata={"labels": {"app.kubernetes.io/managed-by": "Helm"}})
    typed.group("zz", "default", 0, 1, *STALLED)
    typed.cluster("half", READY)
    typed.group("half", "default", 1, 2, *STALLED)
    typed.put(DASKCLUSTERS, "new", metadata={"namespace": "team-c"})


def test_a_list(typed: Typed) -> None:
    world(typed)
    assert typed.done("list") == (
        "CLUSTER  WORKERS  AGE  CREATED BY\n"
        "half     1/2      0s   -\n"
        "zz       0/1      0s   Helm\n"
        "good     2/5      0s   ann@laptop\n"
    )
    first, *rest = typed.done("list", "-A").splitlines()
    assert first.split() == ["NAMESPACE", "CLUSTER", "WORKERS", "AGE", "CREATED", "BY"]
    assert [line.split()[:3] for line in rest] == [
        ["team-b", "half", "1/2"],
        ["team-b", "zz", "0/1"],
        ["team-c", "new", "0/?"],
        ["team-b", "good", "2/5"],
    ]


def test_what_is_broken_comes_first_with_its_reason(typed: Typed) -> None:
    world(typed)
    assert typed.done("status") == (
        "CLUSTER    WORKERS  AUTOSCALER  AGE  CREATED BY  STATE\n"
        "half       1/2                  0s   -           scheduler ready, 2 workers\n"
        "  default  1/2                                   ImagePullBackOff: no such image [x]\n"
        "zz         0/1                  0s   Helm        ImagePullBackOff: no such image [x]\n"
        "good       2/5                  0s   ann@laptop  scheduler ready, 2 workers\n"
        "  default  2/2      0..5                         scheduler ready, 2 workers\n"
        "  highmem  0/3                                   0 of 3 ready\n"
    )
    assert typed.done("status", "zz").splitlines()[1].startswith("zz ")
    assert len(typed.done("status", "team-c/new").splitlines()) == 2
    typed.put(DASKCLUSTERS, "new")
    assert len(typed.done("status", "new", "-A").splitlines()) == 3
    assert len(typed.done("status", "team-c/new", "-A").splitlines()) == 2


def test_a_document(typed: Typed) -> None:
    world(typed)
    for words in (["list"], ["status"]):
        names = [each["name"] for each in typed.document(*words)["clusters"]]
        assert names == ["half", "zz", "good"]
    (found,) = typed.document("status", "good")["clusters"]
    assert found == {
        "namespace": "team-b",
        "name": "good",
        "health": "good",
        "state": "scheduler ready, 2 workers",
        "workers": {"ready": 2, "wanted": 5},
        "groups": [
            {
                "name": "default",
                "health": "good",
                "state": "scheduler ready, 2 workers",
                "workers": {"ready": 2, "wanted": 2},
                "autoscaler": {"minimum": 0, "maximum": 5, "decision": ""},
                "numberOwner": "autoscaler good",
            },
            {
                "name": "highmem",
                "health": "waiting",
                "state": "0 of 3 ready",
                "workers": {"ready": 0, "wanted": 3},
                "autoscaler": None,
                "numberOwner": None,
            },
        ],
        "created": "2030-01-01T00:00:00Z",
        "createdBy": "ann@laptop",
        "keptBy": None,
    }
    (kept,) = typed.document("status", "zz")["clusters"]
    assert kept["keptBy"] == "Helm (label app.kubernetes.io/managed-by)"
    assert typed.document("list", "-n", "nowhere") == {"clusters": []}


def test_nothing_there(typed: Typed) -> None:
    for words in (["list"], ["status"], ["list", "-A"]):
        result = typed(*words)
        place = "any namespace" if "-A" in words else "namespace team-b"
        assert (result.exit_code, result.stdout, result.stderr) == (
            0,
            "",
            f"no clusters in {place}\n",
        )


def test_refusals(typed: Typed) -> None:
    world(typed)
    words = "error: no DaskCluster 'gone' in 'team-b'; there are: good, half, zz"
    assert typed.refused(1, "status", "gone") == words
    assert typed.refused(1, "status", "gone", "--watch") == words
    assert "--watch goes with --output text" in typed.refused(2, "status", "-w", "-o", "json")

    def fault(status: int, message: str, reason: str = "Forbidden") -> None:
        typed.api.faults.clear()
        typed.api.fault("list", error=ApiError(status, reason, message), times=None)

    resource = 'resource "daskclusters" in API group "kubernetes.dask.org"'
    fault(403, f'x: User "bob" cannot list {resource} in the namespace "team-b"')
    told = (
        "error: user 'bob' may not list daskclusters in namespace 'team-b'; ask for the role 'edit' "
        "there, or use --namespace"
    )
    for command in ("list", "status", "status -w"):
        assert typed.refused(1, *command.split()) == told
    fault(403, f'x: User "bob" cannot list {resource} at the cluster scope')
    told = "error: user 'bob' may not list daskclusters in all namespaces; name one"
    assert typed.refused(1, "list", "-A") == told
    fault(404, "404 page not found", "")
    told = (
        "error: this Kubernetes does not know DaskCluster: install the chart first "
        "(helm install ...), context 'prod'"
    )
    assert typed.refused(1, "list") == told


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("Good", "error: name 'Good': lower case letters, digits and '-' only, at most 53 "),
        ("Bad Name", "error: name 'Bad Name': lower case letters"),
        ("a/", "error: name '': lower case letters"),
        ("/a", "error: namespace '': lower case letters, digits and '-' only, at most 63 "),
        ("a/b/c", "error: namespace 'a/b': lower case letters"),
        ("A_B/c", "error: namespace 'A_B': lower case letters"),
        ("a" * 64 + "/c", f"error: namespace '{'a' * 64}': lower case letters"),
        ("good -n A_B", "error: namespace 'A_B': lower case letters"),
        ("good -n ../x", "error: namespace '../x': lower case letters"),
        ("team-c/new -n team-b", "error: 'team-c/new' names another namespace than --namespace team-b"),
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "command",
    [
        "status",
        "status --watch",
        "logs",
        "doctor",
        "support-bundle",
        "dashboard",
        "port-forward",
        "scale -g x",
        "delete -y",
        "convert --live",
    ],
)
def test_words_that_cannot_be(
    typed: Typed, monkeypatch: pytest.MonkeyPatch, command: str, name: str, told: str
) -> None:
    monkeypatch.setattr(shell, "access", lambda file, context: pytest.fail("it looked"))
    words = [name] if name == "Bad Name" else name.split()
    words += ["3"] if command.startswith("scale") else []
    assert typed.refused(2, *command.split(), *words).startswith(told)


def test_a_namespace_that_cannot_be(typed: Typed) -> None:
    for words in (["list"], ["status"], ["doctor"], ["support-bundle"]):
        told = typed.refused(2, *words, "--namespace", "A_B")
        assert told.startswith("error: namespace 'A_B': lower case letters, digits and '-' only")
        assert told.endswith("; try 'a-b'")


def test_a_fault_of_ours_is_told_in_one_line(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overview, "rows", lambda *pages: 1 / 0)
    told = typed.refused(4, "list")
    assert told.startswith(
        "error: a fault of dask-gitops 0.1.0, please report it: ZeroDivisionError"
    )
    assert "\n" not in told


def test_changes_as_they_come(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Piped: a line for what is new or other than before, until it is interrupted."""
    world(typed)

    async def watched() -> None:
        task = asyncio.ensure_future(look._watch(ACCESS, "team-b", None))
        await asyncio.sleep(12)
        good = typed.api.find(DASKCLUSTERS, "team-b", "good")
        assert good is not None
        condition = {"type": "Ready", "status": "False", "message": "scheduler gone"}
        patch = {"status": {"conditions": [condition]}}
        typed.api.edit(DASKCLUSTERS, "team-b", "good", patch)
        await asyncio.sleep(12)
        typed.api.remove(DASKCLUSTERS, "team-b", "zz")
        await asyncio.sleep(12)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    said: list[str] = []
    monkeypatch.setattr(screen, "say", said.append)
    shell.run(watched())
    assert said == [
        "team-b/half: 1/2 workers, scheduler ready, 2 workers",
        "team-b/zz: 0/1 workers, ImagePullBackOff: no such image [x]",
        "team-b/good: 2/5 workers, scheduler ready, 2 workers",
        "team-b/good: 2/5 workers, scheduler gone",
        "team-b/zz: deleted",
    ]


@pytest.mark.parametrize("width", [200, 40])
def test_a_terminal(typed: Typed, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    """Colour, and nothing cut however narrow it is; what looks like markup is text."""
    world(typed)
    seen = Terminal()
    monkeypatch.setattr("sys.stdout", seen)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.delenv("NO_COLOR", raising=False)
    pages = [typed.api.items(kind) for kind in look.KINDS]
    look._print(overview.rows(*pages), None, "text", overview.STATUS, overview.told)
    text = seen.getvalue()
    assert "\x1b[" in text
    if width == 200:
        assert "ImagePullBackOff: no such image [x]" in text
    assert "…" not in text


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "0s"), (119, "119s"), (120, "2m"), (7199, "119m"), (7200, "2h"), (200_000, "2d")],
)
def test_an_age(seconds: float, text: str) -> None:
    assert overview.age(seconds) == text


def test_who_made_it() -> None:
    def made(**metadata: Any) -> str:
        meta = {"name": "x", "namespace": "n", "uid": "u", **metadata}
        (row,) = overview.rows([{"metadata": meta}], [], [])
        return row.created_by

    wrote = [
        {"manager": "later", "time": "2030-01-02T00:00:00Z"},
        {"manager": "kubectl-client-side-apply", "time": "2030-01-01T00:00:00Z"},
        {"manager": "dask-gitops", "time": "2029-01-01T00:00:00Z"},
        {"manager": "status", "time": "2029-01-01T00:00:00Z", "subresource": "status"},
    ]
    assert made() == ""
    assert made(managedFields=wrote) == "kubectl"
    assert made(managedFields=wrote[:1]) == "later"
    assert made(ownerReferences=[{"kind": "DaskJob", "name": "j"}]) == "DaskJob j"
    assert made(annotations={"argocd.argoproj.io/tracking-id": "x"}) == "Argo CD"


def test_an_autoscaler_of_another_namespace_is_another(typed: Typed) -> None:
    typed.cluster("a", READY)
    typed.group("a", "default", 1, 1, READY)
    typed.put(DASKAUTOSCALERS, "a", spec={"cluster": "a"}, metadata={"namespace": "team-c"})
    (found,) = typed.document("status", "-A")["clusters"]
    assert found["groups"][0]["autoscaler"] is None
