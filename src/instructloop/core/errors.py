"""The one error family: a message says what and where, a hint names the next thing to do.

The command line prints ``error:`` and ``hint:`` and exits with 2 for this family; any other exception is our own
bug, keeps its traceback and exits with 1.
"""


class InstructLoopError(Exception):
    """Base of all errors a user can mend. ``str(error)`` is the message; ``error.hint`` is the remedy, or None."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[object, ...]:
        """Keep the hint when an error crosses a process border."""
        return (_rebuild, (type(self), self.message, self.hint))


def _rebuild(kind: type[InstructLoopError], message: str, hint: str | None) -> InstructLoopError:
    return kind(message, hint=hint)


class ConfigError(InstructLoopError, ValueError):
    """A configuration value is missing, misspelt or out of range."""


class DataError(InstructLoopError, ValueError):
    """A file or record cannot be used; the message names file, line, field and reason."""


class CheckpointError(InstructLoopError):
    """A checkpoint or run directory is missing, incomplete or of another kind."""


class TrainingDiverged(InstructLoopError, RuntimeError):  # noqa: N818 - the name says what happened
    """A loss, gradient or divergence measure left its bounds; raised before the optimizer step."""


class RankLost(InstructLoopError, RuntimeError):  # noqa: N818 - the name says what happened
    """Another process of the same training died, or did not answer in time."""


class RewardError(InstructLoopError):
    """A reward returned something unusable (NaN, wrong length) or raised."""


class JudgeError(InstructLoopError, RuntimeError):
    """A judging model cannot be asked: its endpoint is away, refuses, or answers nothing that can be used. Answers so far are kept."""


class JudgeRefused(InstructLoopError):  # noqa: N818 - the name says what happened
    """A judge's verdicts are not to be trusted (position bias), and nobody has said that they shall count all the same."""


class MissingExtraError(InstructLoopError, ImportError):
    """An optional dependency is not installed; the hint is the pip command."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)

    @classmethod
    def for_extra(cls, package: str, extra: str) -> "MissingExtraError":
        """The standard wording: which package is missing and the pip command that brings it."""
        return cls(f"this needs the package {package!r}, which is not installed", hint=f"pip install 'instructloop[{extra}]'")
