"""Which prompts something was selected on, written into the run that was selected, so that nobody tests on them later (spec J-P18).

``selection_prompts.json`` holds hashes of normalized texts, not the texts: a run directory may travel where its prompts must not.
"""

import hashlib
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from instructloop.core.files import read_json, write_json
from instructloop.core.records import PromptContent, prompt_text

SELECTION_FILE = "selection_prompts.json"
_SCHEMA_VERSION = 1
_HASH_LETTERS = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """One choice that was made with the help of prompts."""

    what: str
    """What was chosen, and by what: ``epoch by rm_score``."""
    by: str
    """The run that chose; empty: the run itself."""
    hashes: frozenset[str]


def prompt_hash(prompt: PromptContent) -> str:
    """Hash of a prompt's text without what does not make it another one: case, white space, forms of the same Unicode character."""
    plain = " ".join(unicodedata.normalize("NFKC", prompt_text(prompt)).casefold().split())
    return hashlib.sha256(plain.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH_LETTERS]


def record_selection(run: Path, what: str, prompts: Iterable[PromptContent], *, by: str = "") -> Path:
    """Note in a run directory that something was chosen on these prompts; the same choice made again replaces its earlier note.

    Args:
        run: directory of the run whose weights were chosen.
        what: what was chosen, and by what.
        prompts: that the choice has seen.
        by: the run that chose, where it is another one.
    """
    hashes = sorted({prompt_hash(prompt) for prompt in prompts})
    kept = [row for row in _rows(run) if (row["what"], row["by"]) != (what, by)]
    file = run / SELECTION_FILE
    write_json(
        file, {"schema_version": _SCHEMA_VERSION, "selections": [*kept, {"what": what, "by": by, "n": len(hashes), "hashes": hashes}]}
    )
    return file


def selections(run: Path) -> list[Selection]:
    """Every choice noted in a run directory."""
    return [Selection(what=row["what"], by=row["by"], hashes=frozenset(row["hashes"])) for row in _rows(run)]


def _rows(run: Path) -> list[dict[str, Any]]:
    file = run / SELECTION_FILE
    found: list[dict[str, Any]] = read_json(file)["selections"] if file.exists() else []
    return found
