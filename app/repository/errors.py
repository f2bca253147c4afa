"""What only a repository can raise; both are safe to show, and map like the errors they extend."""

from __future__ import annotations

from app.errors import RepositoryUnavailable, Unprocessable


class BlobTooLarge(Unprocessable):
    """An object is larger than the caller's limit; its content was not read. Both sizes are in bytes."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(f"the file has {size} bytes, at most {limit} are allowed")
        self.size = size
        self.limit = limit


class ObjectLost(RepositoryUnavailable):
    """The mirror does not hold an object that it was asked for: never fetched, collected, or damaged."""

    def __init__(self, object_id: str) -> None:
        super().__init__(f"object {object_id} cannot be read from the clone")
        self.object_id = object_id


class GitFailed(RepositoryUnavailable):
    """A Git command failed or was killed at its timeout.

    `damaged` tells that Git's own words point at our clone and not at the remote.
    """

    def __init__(self, reason: str, *, damaged: bool = False, timed_out: bool = False) -> None:
        super().__init__(reason)
        self.damaged = damaged
        self.timed_out = timed_out


class HeadMoved(RepositoryUnavailable):
    """A push found the branch elsewhere than at the commit that it builds upon; nothing was pushed."""


class PushUncertain(RepositoryUnavailable):
    """A push was cut off, and the remote cannot be asked whether it arrived."""
