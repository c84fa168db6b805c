"""What the store refuses and pages have to tell apart; all belong to the family of errors a user can mend."""

from instructloop.core.errors import DataError


class UnknownTaskError(DataError):
    """No such task, lease or submission *for this labeler*; the same words whether it exists for somebody else or not (page: 404)."""

    @classmethod
    def of(cls, what: str, identifier: str) -> "UnknownTaskError":
        """The standard wording."""
        return cls(f"there is no {what} {identifier!r} for you", hint="open /work for what is waiting")


class StaleDraftError(DataError):
    """A draft was saved from another tab in the meantime (page: 409). ``current_rev`` is what the store holds."""

    current_rev: int = 0

    @classmethod
    def behind(cls, current_rev: int) -> "StaleDraftError":
        """The standard wording."""
        error = cls(
            f"this tab is behind: a newer draft (number {current_rev}) was saved elsewhere", hint="reload the page to go on from there"
        )
        error.current_rev = current_rev
        return error


class NotEditableError(DataError):
    """An answer can no longer be edited: too late, adjudicated, or a newer revision exists (page: 409)."""

    status = 409
