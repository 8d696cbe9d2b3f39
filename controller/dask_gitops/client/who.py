"""Who we are, for names and for whoever looks at a cluster later."""

from __future__ import annotations

import getpass
import os
import platform
import socket
import uuid
from importlib.metadata import version
from typing import Any


def tokens() -> dict[str, str]:
    """What tokens in names stand for."""
    return {
        **os.environ,
        "user": _user(),
        "uuid": uuid.uuid4().hex[:10],
        "dask_version": version("dask"),
        "python_version": ".".join(platform.python_version_tuple()[:2]),
    }


def _user() -> str:
    """A container's user may have no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user-{os.getuid()}" if hasattr(os, "getuid") else "user"


def created_by() -> str:
    """User and host."""
    return f"{_user()}@{socket.gethostname()}"


def is_tls(security: Any) -> bool:
    """Does this ``distributed.Security`` ask for TLS?"""
    return bool(security is not None and getattr(security, "tls_ca_file", None))
