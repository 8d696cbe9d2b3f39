"""What can go wrong between us and the API server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .resource import Resource

#: An object by its resource and its name.
Asked = tuple[Resource, str]


class KubeError(Exception):
    """Base of all errors of this package.

    ``retry_after``: seconds the server asked us to stay away, or None. The work queue honours it.
    """

    retry_after: float | None = None


class NotLeader(KubeError):
    """The guard refused a write: nothing was sent."""


class ApiUnreachable(KubeError):
    """No (whole) answer came: connection refused, reset, timed out, or not an answer at all.

    ``sent`` is False when the request certainly never left us. When it is True the request may or
    may not have taken effect: the caller must be able to live with either (409 on a repeated
    create, None on a repeated delete).
    """

    def __init__(self, message: str, *, sent: bool) -> None:
        super().__init__(message)
        self.sent = sent


class ApiError(KubeError):
    """The API server answered, with an error (or sent one inside a watch).

    :ivar asked: the object that the request was about; None: a collection, or one to be created.
    """

    def __init__(
        self,
        status: int,
        reason: str = "",
        message: str = "",
        details: Mapping[str, Any] | None = None,
        retry_after: float | None = None,
        asked: Asked | None = None,
    ) -> None:
        super().__init__(status, reason, message)
        self.status = status
        self.reason = reason
        self.message = message
        self.details: Mapping[str, Any] = details or {}
        self.retry_after = retry_after
        self.asked = asked

    def __str__(self) -> str:
        said = " ".join(self.message.split())  # what is no Status is a page, with lines
        if self.reason:
            return f"{self.status} {self.reason}: {said}"
        return said if said.startswith(str(self.status)) else f"{self.status}: {said}"

    @classmethod
    def from_status(
        cls,
        body: Any,
        *,
        http_status: int = 0,
        retry_after: float | None = None,
        asked: Asked | None = None,
    ) -> ApiError:
        """Error from a ``kind: Status`` body; anything else is shown as it is, shortened."""
        if not isinstance(body, dict):
            return cls(http_status, "", str(body)[:500], None, retry_after, asked)
        details = body.get("details")
        details = details if isinstance(details, dict) else {}
        if retry_after is None and details.get("retryAfterSeconds"):
            retry_after = float(details["retryAfterSeconds"])
        return cls(
            http_status or int(body.get("code") or 0),
            str(body.get("reason") or ""),
            str(body.get("message") or ""),
            details,
            retry_after,
            asked,
        )

    @classmethod
    def absent(cls, resource: Resource, name: str) -> ApiError:
        """What an API server says when it is asked for an object that does not exist."""
        details = {"name": name, "group": resource.group, "kind": resource.plural}
        asked = (resource, name)
        return cls(404, "NotFound", f'{resource} "{name}" not found', details, asked=asked)

    def has_cause(self, reason: str) -> bool:
        """Whether ``details.causes`` names this reason."""
        return any(cause.get("reason") == reason for cause in self.details.get("causes") or ())

    @property
    def is_not_found(self) -> bool:
        """The server says that the very object that was asked for does not exist.

        No other 404 says so: not that of a path that is not served (yet, or by a proxy), of a
        namespace, of the resource or of a subresource. Whoever takes those for an end forgets
        what lives on.
        """
        if self.asked is None or self.status != 404 or self.reason != "NotFound":
            return False
        resource, name = self.asked
        said = (self.details.get("group") or "", self.details.get("kind"), self.details.get("name"))
        return said == (resource.group, resource.plural, name)

    @property
    def is_already_exists(self) -> bool:
        return self.status == 409 and self.reason == "AlreadyExists"

    @property
    def is_conflict(self) -> bool:
        """A precondition (resourceVersion, uid) did not hold; not the 409 of AlreadyExists."""
        return self.status == 409 and self.reason != "AlreadyExists"

    @property
    def is_uid_mismatch(self) -> bool:
        """The object of that name is another one than ``metadata.uid`` or the precondition says.

        Servers have two wordings for a delete (409), another where an apply finds no object at all, and call it 422
        in a patch.
        """
        if self.status == 409:
            words = self.message.lower()
            return "uid" in words and ("precondition" in words or "uid mismatch" in words)
        return self.status == 422 and "metadata.uid: Invalid value" in self.message

    @property
    def is_untyped(self) -> bool:
        """What was to be applied has a field that the kind has not, or one of another shape.

        Servers answer 500, as if trying again could help; elsewhere they drop such a field, or say 400 or 422.
        """
        return self.status == 500 and "failed to create typed patch object" in self.message

    @property
    def is_gone(self) -> bool:
        """A resourceVersion or continue token is too old: list anew."""
        return self.status == 410 or self.reason in ("Expired", "Gone")

    @property
    def is_forbidden_quota(self) -> bool:
        return self.status == 403 and "exceeded quota" in self.message

    @property
    def is_namespace_terminating(self) -> bool:
        return self.status == 403 and self.has_cause("NamespaceTerminating")

    @property
    def is_invalid(self) -> bool:
        return self.status == 422
