from __future__ import annotations

import re

import pytest
from dask_gitops.client.errors import ValidationError
from dask_gitops.client.names import LONGEST, cluster_name, fit, image_name

VALUES = {"user": "ann", "uuid": "1234567890", "TEAM": "Data Science", "EMPTY": "", "ODD": "{user}"}


@pytest.mark.parametrize(
    ("template", "values", "expected"),
    [
        ("demo", {}, "demo"),
        ("dask-{user}-{uuid}", {}, "dask-ann-1234567890"),
        ("dask-{user}-{uuid}", {"user": "Some.User_1"}, "dask-some-user-1-1234567890"),
        ("dask-{user}-{uuid}", {"user": "@@"}, "dask-1234567890"),
        ("{user}", {"user": "-_Ann_-"}, "ann"),
        ("{TEAM}-x", {}, "data-science-x"),
        ("{EMPTY}-x", {}, "x"),
        ("{ODD}", {}, "user"),  # a value is no template
        ("a" * 53, {}, "a" * 53),
        ("dask-{user}-{uuid}", {"user": "u" * 80}, "dask-" + "u" * 37 + "-1234567890"),
        (
            "{user}{TEAM}{uuid}",
            {"user": "u" * 40, "TEAM": "t" * 30},
            "u" * 13 + "t" * 30 + "1234567890",
        ),
        ("{user}", {"user": "é" * 5 + "x"}, "x"),
    ],
)
def test_names(template: str, values: dict[str, str], expected: str) -> None:
    assert cluster_name(template, {**VALUES, **values}) == expected
    assert len(expected) <= LONGEST


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("my_cluster", "name 'my_cluster': lower case letters, digits and '-' only, at most 53 characters, beginning and ending with a letter or digit; try 'my-cluster'"),
        ("dask-{TEAMS}", "name 'dask-{TEAMS}': the environment has no TEAMS"),
        ("{}", "name '{}': the environment has no name"),
        ("{user.__class__}", "name '{user.__class__}': the environment has no user.__class__"),
        ("", "name '': lower case"),
        ("_", "name '_': lower case"),
        ("a" * 54, f"; try '{'a' * 53}'"),
        ("demo\n", "name 'demo\\n': lower case"),
        ("Demo-{uuid}", "try 'demo-1234567890'"),
        ("a" * 50 + "-{uuid}", "at most 53"),
        ("{EMPTY}", "name '': "),
        ("a{", "name 'a{': lower case"),
    ],
)  # fmt: skip
def test_no_names(template: str, message: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(message)):
        cluster_name(template, VALUES)


def test_images() -> None:
    values = {"dask_version": "2026.8.0", "python_version": "3.13", "JUPYTER_IMAGE_SPEC": "r/A:1"}
    assert image_name("r/x:{dask_version}-py{python_version}", values) == "r/x:2026.8.0-py3.13"
    assert image_name("{JUPYTER_IMAGE_SPEC}", values) == "r/A:1"
    with pytest.raises(ValueError, match=r"image .{NONE}.: the environment has no NONE"):
        image_name("{NONE}", values)


def test_fit() -> None:
    assert fit("Some.User_1") == "some-user-1"
    assert fit("--") == ""
