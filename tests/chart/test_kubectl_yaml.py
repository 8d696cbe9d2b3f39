"""What the command makes of YAML, beside what kubectl makes of it, which has no server and no definition to ask here."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from dask_gitops.cli.plan import documents

from tests.support.yaml_words import DOCUMENTS, HEAD, REFUSED, WORDS

REFUSED_WORD = "refused"


def kubectl(text: str) -> Any:
    program = shutil.which("kubectl")
    assert program, 'kubectl is not on PATH; run `eval "$(python3 ci/kubernetes env)"`'
    done = subprocess.run(
        [program, "label", "--local", "--filename=-", "--output=json", "a=b"],
        input=text.encode(),
        capture_output=True,
        check=False,
    )
    if done.returncode:
        return REFUSED_WORD
    return json.loads(done.stdout, parse_int=whole).get("x")


def whole(text: str) -> int | float:
    """Kubernetes has no larger ones than 64 bits hold; it writes a float without an exponent up to 1e21."""
    number = int(text)
    return number if -(2**63) <= number < 2**63 else float(text)


def ours(text: str) -> Any:
    try:
        (found,) = documents.read(text)
    except documents.DocumentError:
        return REFUSED_WORD
    return found.get("x")


def drawn() -> list[str]:
    """Words that look like numbers, more or less."""
    rng = random.Random(7)
    starts = (
        "",
        "-",
        "+",
        "0",
        "0x",
        "0o",
        "0b",
        "1",
        "-0",
        ".",
        "1_",
        "00",
        "0X",
        "-0x",
        "1.",
        "9",
    )
    return [
        rng.choice(starts) + "".join(rng.choices("0123456789_.eEx+-afb", k=rng.randint(0, 5)))
        for _ in range(300)
    ]


def both(texts: list[str]) -> list[tuple[str, Any, Any]]:
    with ThreadPoolExecutor(4) as pool:
        theirs = list(pool.map(kubectl, texts))
    return [(t, a, ours(t)) for t, a in zip(texts, theirs, strict=True) if a != ours(t)]


@pytest.mark.parametrize("some", ["words", "documents", "drawn"])
def test_as_kubectl_reads_it(some: str) -> None:
    texts = {
        "words": [f"{HEAD}x: {word}\n" for word in WORDS],
        "documents": [*(text for text, _ in DOCUMENTS.values()), *REFUSED.values()],
        "drawn": [f"{HEAD}x: {word}\n" for word in drawn() if word],
    }
    assert both(texts[some]) == []
