"""Turning "the disk is full" and its relatives, in whatever words a library reports them, into one clear error."""

import errno
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from instructloop.core.errors import CheckpointError, InstructLoopError

_REFUSALS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}
# Native writers (tensor archives, tokenizers) lose the errno and keep only a sentence.
_NATIVE_WORDS = re.compile(
    r"no space left|file too large|quota exceeded|failed writing|write.* failed|unexpected pos|iostream error|os error (?:28|27|122)",
    re.IGNORECASE,
)


@contextmanager
def writing(path: Path, what: str) -> Iterator[None]:
    """Raise CheckpointError naming the file and the free space if writing it fails for want of room or permission."""
    try:
        yield
    except InstructLoopError:
        raise
    except OSError as error:
        if error.errno not in _REFUSALS:
            raise
        raise _refused(path, what, error.strerror or str(error)) from error
    except Exception as error:
        if not _NATIVE_WORDS.search(str(error)):
            raise
        raise _refused(path, what, str(error).splitlines()[0]) from error


def _refused(path: Path, what: str, reason: str) -> CheckpointError:
    existing = next(place for place in (path, *path.parents) if place.exists())
    free_mib = shutil.disk_usage(existing).free / 2**20
    return CheckpointError(
        f"could not write {what} {path}: {reason} ({free_mib:.0f} MiB free)",
        hint="free some space (or lift the limit), then start the same command with --resume: the last complete checkpoint is intact",
    )
