"""One writer a directory: an advisory lock that the system releases when the process dies, however it dies."""

import fcntl
import os
from pathlib import Path

from instructloop.core.errors import CheckpointError


def take_lock(path: Path, what: str) -> int:
    """Lock a directory; returns the handle to close. Raises CheckpointError if another process holds it."""
    handle = os.open(path / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(handle)
        raise CheckpointError(f"another process is writing the {what} {path}", hint="wait for it, or stop it first") from error
    return handle
