"""The benchmark's pure parts: whose turn it is, medians, tables, and the words for what could not be done."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from dask_gitops.resources.groups import declared_groups
from dask_gitops.resources.observed import CustomResource
from dask_gitops.resources.pods import worker_pod

from bench import ROOT
from bench import __main__ as command
from bench.clients import compared, packages_do_not_fit
from bench.clock import Clock, cpu_of, fixed_piece
from bench.contest import walk
from bench.lab import Audit, Failure
from bench.machine import load_words
from bench.manifests import a_cluster, bare_pods
from bench.measures import total
from bench.report import (
    BEGIN,
    BESIDE,
    CLIENT,
    END,
    IDLE,
    aligned,
    cell,
    cost,
    markdown,
    medians,
    number,
    shortcomings,
    shown,
    table,
)
from bench.turns import OURS, PEER, PLAIN, Sizes, Turn, compare, order

# ---- turns


def test_turns_go_there_and_back() -> None:
    assert list(order(["a", "b"], 3)) == [
        (1, "a"), (1, "b"),
        (2, "b"), (2, "a"),
        (3, "a"), (3, "b"),
    ]  # fmt: skip


def test_everybody_has_as_many_turns_and_none_is_always_first() -> None:
    found = list(order(["a", "b"], 4))
    assert Counter(who for _, who in found) == {"a": 4, "b": 4}
    firsts = [who for i, (_, who) in enumerate(found) if i % 2 == 0]
    assert Counter(firsts) == {"a": 2, "b": 2}


# ---- medians and cells

TURNS = [
    Turn(PLAIN, 1, {"b": 1.0, "d": 2.0, "fixed": 0.5}),
    Turn(OURS, 1, {"b": 1.3, "b_cpu": 0.4, "c": 2.0, "d": 3.0}),
    Turn(PLAIN, 1, {"b": 1.2, "d": 2.0, "fixed": 0.7}),
    Turn(PEER, 1, {"b": 9.0}, {"d": "deleted pods do not go away within 90 s"}),
    Turn(PLAIN, 2, {"b": 9.0, "d": 2.0, "fixed": 0.6}),
    Turn(PEER, 2, {"b": 11.0, "d": 120.0}),
    Turn(OURS, 2, {"b": 1.7, "b_cpu": 0.6, "c": 4.0, "d": 2.0}),
    Turn(PEER, 3, {}, {"b": "3 pods are ready", "d": "not measured, as b failed"}),
]


def test_medians_are_taken_of_each_contestant() -> None:
    found = medians(TURNS)
    assert found[PLAIN] == {"b": 1.2, "d": 2.0, "fixed": 0.6}
    assert found[OURS] == pytest.approx({"b": 1.5, "b_cpu": 0.5, "c": 3.0, "d": 2.5})
    assert found[PEER] == {"b": 10.0, "d": 120.0}


@pytest.mark.parametrize(
    ("who", "key", "text"),
    [
        (OURS, "b", "1.50 (1.30 - 1.70)"),
        (PEER, "b", "10 (9 - 11), 2 of 3"),
        (PEER, "d", "120, 1 of 3"),
        (PEER, "c", ""),
        (PLAIN, "c", ""),
    ],
)
def test_a_cell_says_median_range_and_how_often_it_was_done(who: str, key: str, text: str) -> None:
    assert cell(TURNS, who, key) == text


def test_a_cell_of_what_was_never_done() -> None:
    assert cell([Turn(PEER, 1, {}, {"b": "why"})], PEER, "b") == "not done"


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (0.123, "0.12"), (9.999, "10.00"), (12.34, "12.3"), (1234.5, "1234")]
)  # fmt: skip
def test_numbers_have_three_digits(value: float, text: str) -> None:
    assert number(value) == text


# ---- tables


def test_the_table_has_a_column_for_each_and_a_verdict_for_ours() -> None:
    sizes = Sizes(workers=200, clusters=20)
    head, *lines = table(TURNS, sizes, BESIDE)
    assert head == ("", "unit", "loop, bare Pods", "dask-gitops", "existing operator", "target")
    found = {line[0][:1]: line for line in reversed(lines)}
    assert found["b"] == (
        "b: 3 scaled to 200 workers, until Ready", "s",
        "1.20 (1 - 9)", "1.50 (1.30 - 1.70)", "10 (9 - 11), 2 of 3", "",
    )  # fmt: skip
    assert found["c"][2:] == ("-", "3 (2 - 4)", "-", "5.40: met")
    assert "g" not in found  # nobody was asked


def test_a_target_is_met_at_its_limit_and_missed_above() -> None:
    turns = [Turn(OURS, 1, {"b_x": 1.25, "b_memory": 121.0}), Turn(PEER, 1, {"b_x": 9.0})]
    verdicts = [line[-1] for line in table(turns, Sizes(), BESIDE)[1:]]
    assert verdicts == ["1.25: met", "120: missed"]


def test_no_verdict_where_ours_was_not_measured() -> None:
    assert table([Turn(PEER, 1, {"b_x": 1.0})], Sizes(), BESIDE)[1][-1] == ""


def test_a_turn_is_compared_with_the_plain_way_beside_it() -> None:
    own = Turn(OURS, 1, {"b": 3.0, "b_cpu": 1.0, "c": 2.0})
    compare(own, Turn(PLAIN, 1, {"b": 2.0, "d": 4.0, "fixed": 1.0}))
    assert own.values == {"b": 3.0, "b_cpu": 1.0, "c": 2.0, "b_x": 1.5}


def test_the_idle_table_shows_ours_alone() -> None:
    turns = [Turn(OURS, 1, {"e_cpu": 0.4, "e_requests": 0, "e_leases": 61})]
    head, *lines = table(turns, Sizes(clusters=100), IDLE)
    assert head == ("", "unit", "dask-gitops", "target")
    assert [line[-1] for line in lines] == ["0.50: met", "0: met", "60: missed"]
    assert lines[0][0] == "e: 100 idle for 120 s: CPU"


def test_five_lines_for_the_readme() -> None:
    assert sum(row.headline for row in BESIDE) == 5
    everything = {row.key: 1.0 for row in BESIDE}
    turns = [Turn(who, 1, everything) for who in (PLAIN, OURS, PEER)]
    assert len(table(turns, Sizes(), BESIDE, headlines=True)) == 1 + 5


def test_every_row_can_be_worded() -> None:
    for row in (*BESIDE, *IDLE, *CLIENT):
        assert "{" not in row.words.format(**vars(Sizes()))


def test_a_table_as_text_and_as_markdown() -> None:
    lines = [("", "unit"), ("long words", "s")]
    assert aligned(lines) == "            unit\nlong words  s"
    assert markdown(lines) == "|  | unit |\n| --- | --- |\n| long words | s |"


def test_the_cost_of_the_run_adds_up() -> None:
    parts = {"b, c, d: dask-gitops": (10.4, 12.0), "g": (20.4, 8.3)}
    assert cost(parts)[-1] == ("all", "31", "20")


# ---- words


def test_the_same_shortcoming_is_told_once_with_its_turns() -> None:
    turns = [Turn(PEER, n, {}, {"c": "too slow"}) for n in (1, 2)]
    turns.append(Turn(PEER, 3, {}, {"c": "it died"}))
    assert shortcomings(turns) == [
        "existing operator, c (turns 1, 2): too slow",
        "existing operator, c (turn 3): it died",
    ]


@pytest.mark.parametrize(("before", "busy"), [(0.9, False), (1.1, True)])
def test_a_busy_machine_is_said(before: float, busy: bool) -> None:
    assert ("the machine was busy" in load_words(before, 3.0, 2)) is busy


def test_a_block_is_shown_between_its_marks_and_nowhere_else() -> None:
    document = f"# a\n{BEGIN}\nold\n{END}\nrest\n"
    assert shown(document, "new") == f"# a\n{BEGIN}\nnew\n{END}\nrest\n"
    assert shown(shown(document, "new"), "newer") == shown(document, "newer")
    assert shown("no marks\n", "new") == "no marks\n"


@pytest.mark.parametrize("file", command.SHOW_IT, ids=lambda file: str(file.relative_to(ROOT)))
def test_the_committed_headlines_are_those_of_the_last_full_run(file: Path) -> None:
    latest = (ROOT / "bench/results/latest.md").read_text()
    block = file.read_text().partition(BEGIN)[2].partition(END)[0]
    rows = [line for line in block.splitlines() if line.startswith("| ")]
    assert len(rows) == 2 + 5
    for row in (rows[0], *rows[2:]):
        assert row in latest


# ---- what a failure does

FAILS = Failure("3 pods are ready after 90 s, not 201")


async def works(_: Any) -> None:
    """A measurement that ends."""


async def fails(_: Any) -> None:
    raise FAILS


def walked(is_ours: bool) -> Turn:
    turn = Turn(OURS if is_ours else PEER)
    steps = [("b", fails), ("d", works)]
    who: Any = SimpleNamespace(is_ours=is_ours)
    controller: Any = None
    asyncio.run(walk(who, controller, turn, steps))
    return turn


def test_what_the_peer_cannot_do_is_told_and_the_run_goes_on() -> None:
    assert walked(is_ours=False).words == {"b": str(FAILS), "d": "not measured, as b failed"}


def test_what_ours_cannot_do_fails_the_run() -> None:
    with pytest.raises(Failure, match="3 pods are ready"):
        walked(is_ours=True)


# ---- the same shapes for everybody


def test_bare_pods_are_what_the_controller_would_run() -> None:
    service, scheduler, *workers = bare_pods("bare", 3, "an/image:1")
    cluster = a_cluster("c", 3, "an/image:1", pretended=False)["spec"]
    assert scheduler["spec"] == cluster["scheduler"]["spec"]
    assert service["spec"]["ports"] == cluster["scheduler"]["service"]["ports"]
    assert service["spec"]["selector"].items() <= scheduler["metadata"]["labels"].items()
    assert len(workers) == cluster["worker"]["replicas"]
    assert len({worker["metadata"]["name"] for worker in workers}) == 3
    for worker in workers:
        [container] = worker["spec"]["containers"]
        del container["env"]
        assert worker["spec"] == cluster["worker"]["spec"]


def test_the_loop_makes_the_pods_that_our_controller_makes() -> None:
    written = a_cluster("c", 3, "an/image:1")
    written["metadata"] |= {"uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z"}
    cluster = CustomResource.of(written)
    [group] = declared_groups(cluster)
    group["metadata"] |= {"uid": "", "creationTimestamp": None}
    pod = worker_pod(cluster, CustomResource.of(group), 0, default_image="other")
    [container] = pod["spec"]["containers"]
    assert container["image"] == "an/image:1"
    assert container["args"] == written["spec"]["worker"]["spec"]["containers"][0]["args"]


# ---- counting


def event(agent: str, verb: str, resource: str, code: int = 200, **more: Any) -> str:
    ref = {"resource": resource, **more.pop("ref", {})}
    stage = more.pop("stage", "ResponseComplete")
    status = {"code": code}
    found = {"userAgent": agent, "verb": verb, "stage": stage, "responseStatus": status}
    return json.dumps({**found, "objectRef": ref, **more}) + "\n"


def test_requests_are_counted_for_the_contestants_agents_from_its_moment_on(tmp_path: Path) -> None:
    log = tmp_path / "audit.log"
    log.write_text(event("kopf/1", "create", "pods"))
    audit = Audit(log, log.stat().st_size, ("kopf/", "kr8s/"))
    with log.open("a") as file:
        file.write(event("kopf/1", "watch", "pods", stage="ResponseStarted"))
        file.write(event("kopf/1", "watch", "pods"))
        file.write(event("kr8s/2", "create", "deployments", 201))
        file.write(event("kr8s/2", "create", "deployments", 409))
        file.write(event("kubectl/1 (kopf/)", "create", "deployments", 201))
        file.write(event("kopf/1", "patch", "leases"))
        file.write(event("kopf/1", "patch", "daskclusters", ref={"subresource": "status"}))
        file.write(event("kopf/1", "create", "pods")[:-1])  # being written
    assert audit.requests() == {
        "watch pods": 1,
        "create deployments": 1,
        "create deployments 409": 1,
        "patch leases": 1,
        "patch daskclusters/status": 1,
    }
    assert total(audit.requests()) == 3


# ---- the clock


def test_parts_are_added_up_with_the_cpu_of_others_that_end() -> None:
    clock = Clock()
    with clock.part("one"):
        process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
        try:
            with clock.daemons([process.pid]):
                while cpu_of(process.pid) < 0.3:
                    time.sleep(0.01)
        finally:
            process.kill()
    with clock.part("one"):
        time.sleep(0.01)
    with clock.part("other"):
        pass
    process.wait()
    assert set(clock.parts) == {"one", "other"}
    wall, cpu = clock.parts["one"]
    assert wall > 0.01
    assert cpu >= 0.3


def test_cpu_is_counted_in_whole_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the kernel does: 1.4 - 1.1 of floating point is less than 0.3."""
    moments = iter([1.1, 1.4, 1.4, 1.7])
    monkeypatch.setattr(Clock, "_cpu", lambda clock: next(moments))
    clock = Clock()
    for expected in (0.3, 0.6):
        with clock.part("one"):
            pass
        assert clock.parts["one"][1] == expected


def test_the_fixed_piece_takes_time() -> None:
    assert fixed_piece() > 0


# ---- the Python clients


def test_ours_is_compared_with_the_peer_of_the_same_turn() -> None:
    ours = Turn(OURS, 1, {"k": 2.0, "k_added": 0.2, "k_from": 0.1})
    compared(ours, Turn(PEER, 1, {"k": 4.0, "k_added": 0.0}))
    assert ours.values == {"k": 2.0, "k_added": 0.2, "k_from": 0.1, "k_x": 0.5}


def test_packages_run_with_the_same_minor_version_alone() -> None:
    ours = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert packages_do_not_fit(f"{ours}.2\n") == ""
    assert packages_do_not_fit("2.7.1") == f"Python is {ours} here and 2.7 in the image"


@pytest.mark.parametrize("words", [["client"], ["--only", "client"]])
def test_the_clients_are_measured_by_name_alone(
    words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", *words])
    assert command.asked().names == ["client"]


def test_a_user_does_what_it_is_told_and_tells_what_went_wrong(tmp_path: Path) -> None:
    (tmp_path / "a_client.py").write_text(
        "class KubeCluster:\n    def __init__(self, custom_cluster_spec, **given): raise OSError(given['n_workers'])\n"
        "def make_cluster_spec(image, **given):\n"
        "    pod = lambda part: {'spec': {'containers': [{'image': image, 'args': ['dask-' + part, '-v']}]}}\n"
        "    return {'spec': {part: pod(part) for part in ('scheduler', 'worker')}}\n"
    )
    given = {"image": "x", "n_workers": 2}
    asked = [{"do": "start", **given}, {"do": "spec", **given}]
    done = subprocess.run(
        [sys.executable, ROOT / "bench/kubecluster.py", "a_client"],
        input="".join(json.dumps(each) + "\n" for each in asked),
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    imported, *told = map(json.loads, done.stdout.splitlines())
    assert imported["gave"] >= 0
    failed, spec = told
    assert failed == {"error": "OSError: 2"}
    for part in ("scheduler", "worker"):
        (container,) = spec["gave"]["spec"][part]["spec"]["containers"]
        assert container == {"image": "x", "args": ["dask", part, "-v"]}


# ---- the command


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["bogus"], "no such measure: bogus; --help lists them"),
        (["--only", "bx"], "--only bx: choose letters from bcdg"),
        (["--only", ""], "choose letters"),
        (["--turns", "0"], "at least one is needed"),
    ],
)
def test_bad_words_are_told_apart(
    words: list[str],
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", *words])
    with pytest.raises(SystemExit):
        command.asked()
    assert says in capsys.readouterr().err


def test_help_lists_every_measure_with_its_time(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.parser().parse_args(["--help"])
    text = capsys.readouterr().out
    for name, one in command.MEASURES.items():
        assert name in text
        assert one.takes in text
    assert command.HANDOVER in text
