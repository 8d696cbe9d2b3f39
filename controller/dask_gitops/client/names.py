"""Pure: names of clusters and images with tokens in them, such as ``dask-{user}-{uuid}``."""

from __future__ import annotations

import re
from collections.abc import Mapping

from dask_gitops.client.errors import ValidationError

#: The scheduler's Service is called ``<name>-scheduler``, and no name may be longer than 63.
LONGEST = 53
_VALID = re.compile(rf"(?=.{{1,{LONGEST}}}\Z)[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_LABEL = re.compile(r"(?=.{1,63}\Z)[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_TOKEN = re.compile(r"\{([^{}]*)\}")
_UUID = "uuid"  # tells clusters of one user apart: never cut


def cluster_name(template: str, values: Mapping[str, str]) -> str:
    """The name of a cluster.

    What tokens stand for is made fit for a name, and cut where it is too long; what the user wrote
    is not.

    :param template: such as ``dask-{user}-{uuid}``.
    :param values: what tokens stand for.
    :raises ValidationError: a token stands for nothing, or it is no name; with one that would be.
    """
    parts = _parts(template, "name", values)
    fitted = [(token, fit(text) if token else text) for token, text in parts]
    while (excess := sum(len(text) for _, text in fitted) - LONGEST) > 0:
        where, longest = max(
            ((i, len(text)) for i, (token, text) in enumerate(fitted) if token not in ("", _UUID)),
            key=lambda each: each[1],
            default=(0, 0),
        )
        if not longest:
            break
        token, text = fitted[where]
        fitted[where] = (token, text[: max(0, longest - excess)].rstrip("-"))
    name = "".join(text for _, text in fitted)
    if any(token for token, _ in fitted):
        name = re.sub("--+", "-", name).strip("-") or name
    if not is_name(name):
        raise ValidationError(refusal(name))
    return name


def is_name(name: str) -> bool:
    """Can a cluster be called so?"""
    return _VALID.fullmatch(name) is not None


def is_namespace(name: str) -> bool:
    """Can a namespace be called so?"""
    return _LABEL.fullmatch(name) is not None


def refusal(name: str) -> str:
    """Why this cannot be a cluster's name, in words."""
    return _refusal("name", name, LONGEST)


def namespace_refusal(name: str) -> str:
    """Why this cannot be a namespace's name, in words."""
    return _refusal("namespace", name, 63)


def _refusal(what: str, name: str, longest: int) -> str:
    better = fit(name)[:longest].rstrip("-")
    return (
        f"{what} {name!r}: lower case letters, digits and '-' only, at most {longest} characters, "
        "beginning and ending with a letter or digit" + (f"; try {better!r}" if better else "")
    )


def fit(text: str) -> str:
    """A text as a part of names: ``Some.User_1`` becomes ``some-user-1``."""
    return re.sub("[^a-z0-9]+", "-", text.lower()).strip("-")


def image_name(template: str, values: Mapping[str, str]) -> str:
    """An image, such as ``{JUPYTER_IMAGE_SPEC}`` or ``ghcr.io/dask/dask:{dask_version}``.

    :raises ValueError: a token stands for nothing.
    """
    return "".join(text for _, text in _parts(template, "image", values))


def _parts(template: str, field: str, values: Mapping[str, str]) -> list[tuple[str, str]]:
    """Pieces with their token, "" for what is written as it is."""
    found: list[tuple[str, str]] = []
    at = 0
    for match in _TOKEN.finditer(template):
        found.append(("", template[at : match.start()]))
        token = match[1]
        if token not in values:
            raise ValidationError(f"{field} {template!r}: the environment has no {token or 'name'}")
        found.append((token, values[token]))
        at = match.end()
    return [*found, ("", template[at:])]
