"""The definitions of the Dask kinds, as this version has them."""

from __future__ import annotations

import functools
import importlib.resources
import json
from collections.abc import Mapping
from typing import Any

JSON = dict[str, Any]


@functools.cache
def ours() -> Mapping[str, JSON]:
    """Schemas by kind."""
    place = importlib.resources.files("dask_gitops.cli.plan")
    found: dict[str, JSON] = json.loads(place.joinpath("definitions.json").read_text("utf-8"))
    return found
