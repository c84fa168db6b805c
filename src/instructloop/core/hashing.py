"""Content hashes with an algorithm prefix, so that a later change of algorithm is visible."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_CHUNK_BYTES = 1 << 20


def hash_bytes(data: bytes) -> str:
    """``sha256:<hex>`` of the bytes."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text. NaN is refused (ValueError)."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def hash_json(value: Any) -> str:
    """``sha256:<hex>`` of the canonical JSON of a value."""
    return hash_bytes(canonical_json(value).encode())


def hash_file(path: Path) -> str:
    """``sha256:<hex>`` of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return "sha256:" + digest.hexdigest()


def hash_tree(path: Path, *, ignore: Iterable[str] = ()) -> str:
    """``sha256:<hex>`` over the relative names and contents of all files below ``path`` (a file stands for itself).

    Args:
        path: a file or a directory.
        ignore: file names (not paths) that do not count, e.g. a README made after the fact.
    """
    if path.is_file():
        return hash_file(path)
    skipped = set(ignore)
    files = sorted(file for file in path.rglob("*") if file.is_file() and file.name not in skipped)
    return hash_json([[file.relative_to(path).as_posix(), hash_file(file)] for file in files])
