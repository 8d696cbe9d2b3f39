"""``doctor``: asks, judges, and shows what was found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict

from dask_gitops.cli import screen, shell
from dask_gitops.cli.doctor import gather
from dask_gitops.cli.doctor.checks import findings
from dask_gitops.cli.doctor.facts import Finding, Missing
from dask_gitops.cli.options import Where, as_options, complain
from dask_gitops.client.access import Access
from dask_gitops.client.errors import NoKubernetesError
from dask_gitops.text import printable

STYLES = {"ok": "green", "warning": "yellow", "failure": "bold red", "not checked": "dim"}
WORDS = 600


def doctor(name: str | None, where: Where, output: str) -> bool:
    """:returns: did no check fail?"""
    if name is not None:
        name, where = shell.split(name, where)
    there: Access | Missing
    try:
        there = shell.reached(where)
        namespace = shell.namespace_of(where, there)
    except NoKubernetesError as error:
        there = Missing(str(error))
        namespace = where.namespace or ""
    if name is not None and screen.is_terminal():
        complain(f"a scheduler that does not answer takes {gather.REACH_S:.0f} s")
    found = findings(shell.run(gather.facts(where, name, namespace, there)))
    if output == "json":
        told = [asdict(each) for each in found]
        screen.document({"namespace": namespace, "name": name, "checks": told})
    else:
        _show(found)
    return not any(each.verdict == "failure" for each in found)


def _show(found: Sequence[Finding]) -> None:
    rows: list[list[screen.Cell]] = []
    for each in found:
        says = printable(as_options(each.says), WORDS)
        rows.append([each.check, (each.verdict, STYLES[each.verdict]), says])
        if each.do:
            rows.append(["", "", f"-> {printable(each.do, WORDS)}"])
    screen.table(("CHECK", "VERDICT", "SAYS"), rows)
    count = Counter[str](each.verdict for each in found)
    screen.say(", ".join(_counted(verdict, count[verdict]) for verdict in STYLES if count[verdict]))


def _counted(verdict: str, count: int) -> str:
    return f"{count} {verdict}{'s' if count > 1 and verdict in ('warning', 'failure') else ''}"
