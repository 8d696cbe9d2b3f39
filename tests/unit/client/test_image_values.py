from __future__ import annotations

from typing import Any

import pytest
from dask_gitops.client.values import image_values

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("image", "wanted"),
    [
        ("r:1", {"repository": "r", "tag": "1"}),
        ("registry:5000/a/b:1", {"repository": "registry:5000/a/b", "tag": "1"}),
        (f"r@{DIGEST}", {"repository": "r", "digest": DIGEST}),
        (f"r:1@{DIGEST}", {"repository": "r", "tag": "1", "digest": DIGEST}),
        # The chart refuses an image without a tag; this is the one that Kubernetes takes.
        ("r", {"repository": "r", "tag": "latest"}),
        ("registry:5000/a/b", {"repository": "registry:5000/a/b", "tag": "latest"}),
    ],
)
def test_the_parts_of_an_image(image: str, wanted: dict[str, Any]) -> None:
    assert image_values(image) == wanted
