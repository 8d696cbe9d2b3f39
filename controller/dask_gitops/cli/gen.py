"""``gen cluster``: a DaskCluster of a few words, as `KubeCluster` makes it."""

from __future__ import annotations

import json
from typing import Any

import click
import yaml

from dask_gitops.client import who
from dask_gitops.client.settings import configured, settings
from dask_gitops.client.wanted import wanted

from . import screen
from .options import as_options
from .overview import JSON

#: As the existing operator's command has it.
N_WORKERS = 3


def cluster(given: JSON, output: str) -> None:
    """
    :param given: arguments of `KubeCluster`, but ``resources`` as JSON text and ``env`` as ``NAME=value``.
    :raises click.UsageError: one cannot be that.
    """
    arguments = {key: value for key, value in given.items() if value not in (None, ())}
    if "resources" in arguments:
        arguments["resources"] = _json(arguments["resources"])
    if "env" in arguments:
        arguments["env"] = dict(_variable(each) for each in arguments["env"])
    known = configured()
    if arguments.keys().isdisjoint({"n_workers"}) and known.get("n_workers") is None:
        arguments["n_workers"] = N_WORKERS
    known.pop("custom_cluster_spec", None)  # it says itself what it is: there is nothing to make
    try:
        made = wanted(settings(arguments, known), arguments, who.tokens()).objects.cluster
    except (TypeError, ValueError) as error:
        raise click.UsageError(as_options(str(error))) from None
    if output == "json":
        screen.document(made)
    else:
        screen.say(yaml.dump(made, Dumper=_Plain, sort_keys=False, allow_unicode=True).rstrip())


class _Plain(yaml.SafeDumper):
    """Written out: no anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        example = """write '{"limits": {"cpu": "2", "memory": "4Gi"}}'"""
        raise click.UsageError(f"--resources is no JSON ({error}); {example}") from None


def _variable(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise click.UsageError(f"--env {text!r}: write NAME=value")
    return name, value
