"""What all commands have in common, and that docs/command.md tells of each."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner
from dask_gitops.cli.group import gitops
from dask_gitops.cli.options import Command, as_options

from tests.unit.cli.conftest import TEXT, section


def commands(group: click.Group = gitops, before: str = "") -> Iterator[tuple[str, Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, f"{before}{name} ")
        elif isinstance(command, Command):
            yield before + name, command


COMMANDS = dict(commands())


def test_these_are_the_commands() -> None:
    told = re.findall(r"^## `([a-z-]+(?: cluster)?)", TEXT, re.MULTILINE)
    assert [*told] == [name for name, _ in commands()]


@pytest.mark.parametrize("name", COMMANDS)
def test_its_help_tells_its_exit_codes(name: str) -> None:
    result = CliRunner().invoke(gitops, [*name.split(), "--help"])
    assert result.exit_code == 0
    _, _, told = result.output.partition("Exit codes:\n")
    assert [int(code) for code in re.findall(r"^  (\d+)  ", told, re.MULTILINE)] == list(
        COMMANDS[name].codes
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_its_options_and_exit_codes_are_documented(name: str) -> None:
    there = {
        max(option.opts, key=len)
        for option in COMMANDS[name].params
        if isinstance(option, click.Option)
    }
    common = set(re.findall(r"`(--[a-z-]+)", section("list")))
    told = set(re.findall(r"--[a-z][a-z-]+", section(name)))
    everywhere = {"--namespace", "--context", "--kubeconfig", "--output"}
    assert everywhere < common
    assert there - everywhere <= told
    assert told <= there | {"--yes", "--help", "--memory-limit"} | everywhere
    codes = TEXT.partition("\n## ")[0] + section(name)
    for code in COMMANDS[name].codes:
        assert re.search(rf"^\| {code} \|", codes, re.MULTILINE), code


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("set it, or pass kubeconfig=", "set it, or pass --kubeconfig"),
        ("there, or use namespace=", "there, or use --namespace"),
        ("n_workers is -1", "--n-workers is -1"),
        ("scheduler_service_type='LoadBalancer' or", "--scheduler-service-type LoadBalancer or"),
        ("the namespace='x y'", "the namespace='x y'"),
        ("scheduler_forward_port 80 is in use", "--port 80 is in use"),
        ("in the namespace", "in the namespace"),
    ],
)
def test_errors_speak_of_options(words: str, told: str) -> None:
    assert as_options(words) == told
