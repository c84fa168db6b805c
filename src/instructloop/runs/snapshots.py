"""A snapshot as training sees it: a folder of data files with a manifest that says who labeled what, by which guidelines.

Feedback writes snapshots; here they are only read, so that no trainer knows the database.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from instructloop.core.errors import DataError
from instructloop.core.files import read_json
from instructloop.core.hashing import hash_file

MANIFEST_FILE = "manifest.json"
SNAPSHOT_FORMAT = "instructloop-snapshot"


def is_snapshot(path: str | Path) -> bool:
    """Whether a path is a snapshot's folder."""
    file = Path(path) / MANIFEST_FILE
    if not file.is_file():
        return False
    try:
        manifest = read_json(file)
    except (DataError, UnicodeDecodeError):
        return False
    return isinstance(manifest, dict) and manifest.get("format") == SNAPSHOT_FORMAT


def snapshot_manifest(path: Path) -> Mapping[str, Any]:
    """What a snapshot says of itself."""
    manifest: dict[str, Any] = read_json(path / MANIFEST_FILE)
    return manifest


def snapshot_file(path: Path, kind: str, split: str = "train", *, optional: bool = False) -> Path | None:
    """A data file of a snapshot.

    Args:
        path: its folder.
        kind: ``demonstrations``, ``rankings``, ``votes``, ``prompts``...
        split: of the prompts: ``train``, ``valid`` or ``test``.
        optional: give None where the snapshot has no such row.

    Raises:
        DataError: there is none, and it is not optional.
    """
    name = f"{kind}.jsonl" if split == "train" else f"{kind}.{split}.jsonl"
    files = snapshot_manifest(path)["files"]
    if name in files and files[name]["rows"]:
        return path / name
    if optional:
        return None
    hint = "label some, and look at left_out in its manifest.json for what had to stay behind"
    if kind == "prompts":
        hint = "customers' prompts only, unless you say otherwise: instructloop snapshot PROJECT --prompt-sources api dataset labeler"
    rows = ", ".join(f"{other} {entry['rows']}" for other, entry in files.items() if entry["rows"])
    raise DataError(
        f"the snapshot {path} has no {kind} of the split {split}; it has {rows or 'no rows'}",
        hint=hint,
    )


def data_file(source: str, kind: str) -> str:
    """The file that a path names: a snapshot stands for its training rows of a kind, anything else for itself."""
    if source and is_snapshot(source):
        return str(snapshot_file(Path(source), kind))
    return source


def beside(source: str, kind: str, split: str = "train") -> str:
    """Another file of the snapshot that a path names; empty where the path is no snapshot or it has no such rows."""
    if not source or not is_snapshot(source):
        return ""
    found = snapshot_file(Path(source), kind, split, optional=True)
    return "" if found is None else str(found)


def changed_files(path: Path) -> list[tuple[Path, bool]]:
    """(file, whether it is as the manifest says) for every file of a snapshot; a missing one is not."""
    files = snapshot_manifest(path)["files"]
    return [(path / name, (path / name).is_file() and hash_file(path / name) == entry["sha256"]) for name, entry in sorted(files.items())]
