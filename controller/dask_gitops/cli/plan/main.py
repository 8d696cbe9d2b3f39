"""``dask-gitops plan``: what a change of values or manifests would do to the clusters, before it is merged."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dask_gitops import __version__
from dask_gitops.model.declared import read
from dask_gitops.resources.revision import without_nulls
from dask_gitops.settings import Settings, SettingsError

from .. import screen
from ..faults import fault
from . import sources
from .definitions import complaints
from .differences import differences
from .rehearsal import (
    Declared,
    Picture,
    RehearsalError,
    Unit,
    live_part,
    rehearse,
    unit_of,
    units,
)
from .report import ERROR, FAULT, FORMATS, UNWRITTEN, Report
from .sources import Side, SourceError
from .story import tell
from .subject import Subject

EXIT_CODES = """\
exit codes:
  0  no scheduler restarts, no work or result is lost
  1  the answer cannot be written
  2  something cannot be read, rendered or understood, or the API server would refuse it
  3  a scheduler restarts (also later, when it is idle), or work or results are lost
  4  a fault of dask-gitops itself: it knows nothing of the change; please report it
"""


def parser() -> argparse.ArgumentParser:
    out = argparse.ArgumentParser(
        prog="dask-gitops",
        description="Dask clusters on Kubernetes: what a change would do to them, before it is merged.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    plan = out.add_subparsers(dest="command", required=True).add_parser(
        "plan",
        help="what a change would do",
        description="Says what a change would do to Dask clusters. It changes nothing.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    sides = plan.add_argument_group("the two sides of the change")
    path: dict[str, Any] = {"nargs": "+", "metavar": "FILE", "default": []}
    sides.add_argument("--from", dest="before", **path, help="as it is: files or folders of manifests, - for standard input; with --chart: values files")  # fmt: skip
    sides.add_argument("--to", dest="after", **path, help="as it is to be")
    sides.add_argument("--git", metavar="BASE..HEAD", help="instead: two revisions, of the files that --values or --manifests name; BASE alone: it and the files as they lie there")  # fmt: skip
    sides.add_argument("--values", **path, help="with --git: values files, the strongest last")
    sides.add_argument("--manifests", **path, help="with --git: files or folders of manifests")
    helm = plan.add_argument_group("rendering")
    helm.add_argument("--chart", help="chart that values files are for: a folder (with --git of each revision, if it is there), an archive or an oci:// address; with --values: .")  # fmt: skip
    helm.add_argument("--chart-version", help="of a chart that is not a folder")
    helm.add_argument("--release", default="dask", help="name of the release (%(default)s)")
    helm.add_argument("--namespace", default="default", help="of the release, and of manifests that name none (%(default)s)")  # fmt: skip
    helm.add_argument("--helm", default=os.environ.get("HELM", "helm"), help="Helm (%(default)s)")
    live = plan.add_argument_group("a live cluster")
    live.add_argument("--live", action="store_true", help="begin from what runs there, not from what --from declares")  # fmt: skip
    live.add_argument("--kubeconfig", metavar="FILE", help="instead of the one that kubectl reads")
    live.add_argument("--context", help="of your kubeconfig; the current one if left out")
    plan.add_argument("--output", choices=FORMATS, default="text", help="%(default)s if left out")
    return out


def read_sides(args: argparse.Namespace) -> tuple[Side, Side]:
    """What is declared before and after.

    :raises SourceError: the arguments contradict themselves, or something cannot be read.
    """
    for option in ("kubeconfig", "context"):
        if getattr(args, option) is not None and not args.live:
            raise SourceError(f"--{option} goes with --live; without it no cluster is looked at")
    if [*args.before, *args.after].count("-") > 1:
        raise SourceError("-: standard input can be one of the sides, and only once")
    if args.git is None:
        if args.values or args.manifests:
            raise SourceError("--values and --manifests go with --git; use --from and --to here")
        if not args.after or not (args.before or args.live):
            raise SourceError("give --from and --to, or --git; with --live, --to alone will do")
        before = _read(args, args.before, args.chart) if args.before else Side()
        return before, _read(args, args.after, args.chart)
    if args.before or args.after or bool(args.values) == bool(args.manifests):
        raise SourceError("--git goes with either --values or --manifests, and not with --from, --to")  # fmt: skip
    if args.manifests and args.chart:
        raise SourceError("--chart goes with --values; manifests are not rendered")
    base, head = sources.revisions(args.git)
    with tempfile.TemporaryDirectory() as folder:
        old = sources.check_out(base, Path(folder) / "base")
        new = sources.check_out(head, Path(folder) / "head") if head else Path()
        for file in args.values or args.manifests:
            if not (old / file).exists() and not (new / file).exists():
                raise SourceError(f"{file}: neither of the two revisions has it")
        return _read_there(args, old), _read_there(args, new)


def _read_there(args: argparse.Namespace, root: Path) -> Side:
    """Of one revision; a file that is not there yet, or not any more, declares nothing."""
    found = [str(root / f) for f in (args.values or args.manifests) if (root / f).exists()]
    if not found:
        return Side()
    if args.manifests:
        return _read(args, found, None)
    chart = args.chart or "."
    return _read(args, found, str(root / chart) if (root / chart).exists() else chart)


def _read(args: argparse.Namespace, files: Sequence[str], chart: str | None) -> Side:
    if chart is None:
        return sources.read_manifests(files, args.namespace)
    return sources.render(
        args.helm, chart, files, args.release, args.namespace, version=args.chart_version
    )


def check(before: Declared, after: Side) -> None:
    """:raises SourceError: the API server would refuse what is to be declared."""
    found = _complaints(after) or _misshapen(after)
    for of in before.keys() & after.objects.keys():
        if of.kind == "DaskWorkerGroup" and unit_of(before[of]) != unit_of(after.objects[of]):
            found.append(f"{of.kind} {of.namespace}/{of.name}: spec.cluster cannot be changed; give the group another name")  # fmt: skip
    if found:
        raise SourceError("\n".join(["the API server would refuse this:", *found]))


def _misshapen(side: Side) -> list[str]:
    """What the controller could not read, and the API server would refuse when a Pod is made of it."""
    return [
        f"{of.kind} {of.namespace}/{of.name}: {wrong}"
        for of, raw in side.objects.items()
        for wrong in read(of.kind, without_nulls(raw.get("spec") or {})).wrong
    ]


def _complaints(side: Side) -> list[str]:
    """:raises SourceError: nobody can tell."""
    plain = {of: {**raw, "spec": without_nulls(raw["spec"])} for of, raw in side.objects.items()}
    try:
        return complaints(plain, side.definitions)
    except ImportError as error:
        raise SourceError(
            "jsonschema is not installed, with which specs are checked; pip install 'dask-gitops[cli]'"
        ) from error


async def compare(
    before: Declared, after: Declared, settings: Settings, live: Picture | None
) -> list[Subject]:
    """Who is touched, and how."""
    found: list[Subject] = []
    for unit in units(before, after):
        if live is not None:
            unit = replace(unit, live=live_part(live, unit))
        if live is not None or not is_same(unit):
            found += tell(unit, await rehearse(unit, settings, time.time()))
    return found


def is_same(unit: Unit) -> bool:
    return unit.before.keys() == unit.after.keys() and not any(
        differences(raw, unit.after[of]) for of, raw in unit.before.items()
    )


def _wrong_before(complaints: list[str]) -> SourceError:
    return SourceError("\n".join(["what was declared before cannot be understood:", *complaints]))


def run(args: argparse.Namespace) -> Report:
    """:raises SourceError: something cannot be read, or the API server would refuse it.
    :raises RehearsalError: a fault of ours.
    """
    before, after = read_sides(args)
    check(before.objects, after)
    if _misshapen(before) and not args.live:
        raise _wrong_before(_complaints(before) or _misshapen(before))
    try:
        return _report(args, before, after)
    except RehearsalError:
        wrong = _complaints(before)  # an API server of another version may have taken it
        if wrong:
            raise _wrong_before(wrong) from None
        raise


def _report(args: argparse.Namespace, before: Side, after: Side) -> Report:
    settings = Settings.from_env(after.controller or before.controller)
    live = None
    if args.live:
        namespaces = {of.namespace for of in (*before.objects, *after.objects)}
        live = asyncio.run(sources.read_live(args.kubeconfig, args.context, namespaces))
    found = asyncio.run(compare(before.objects, after.objects, settings, live))
    ignored = before.ignored | after.ignored
    return Report(found, ignored, empty=not before.objects and not after.objects)


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point of ``dask-gitops``; exits with the code that ``--help`` lists."""
    args = parser().parse_args(argv)
    log = logging.getLogger("dask_gitops")
    level = log.level
    log.setLevel(logging.CRITICAL)  # what the controller says while it rehearses
    try:
        report = run(args)
        text = FORMATS[args.output](report)
    except (SourceError, SettingsError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(ERROR)
    except Exception as error:
        said = str(error) if isinstance(error, RehearsalError) else fault(error)
        print(f"error: a fault of dask-gitops {__version__}, please report it: {said}", file=sys.stderr)  # fmt: skip
        sys.exit(FAULT)
    finally:
        log.setLevel(level)
    try:
        screen.say(text.removesuffix("\n"))
    except BrokenPipeError:  # whoever read has enough
        raise
    except OSError as error:
        print(f"error: the answer cannot be written: {error}", file=sys.stderr)
        sys.exit(UNWRITTEN)
    sys.exit(report.exit_code)
