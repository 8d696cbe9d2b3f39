"""Text that others wrote (schedulers, containers, kubelets, admission webhooks), made fit for people to read."""

from __future__ import annotations


def printable(text: str, most: int) -> str:
    """``text`` cut to ``most`` characters, without line breaks, terminal escapes and the like."""
    return "".join(c if c.isprintable() else " " for c in text.strip()[:most])
