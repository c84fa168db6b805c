"""Records into JSONL, one object a line in our own layouts; a file appears whole or not at all. ``.gz`` in the name compresses."""

import gzip
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from instructloop.core.errors import DataError
from instructloop.core.files import PARTIAL_SUFFIX, write_atomic
from instructloop.core.records import Comparison, Demonstration, Pair, Prompt, Ranking, Rating, Text, Unpaired, prompt_json


def to_row(record: Any) -> dict[str, Any]:
    """The row of a record: its contract fields first, then what ``meta`` holds (a contract field wins over a namesake in it).

    Raises:
        DataError: the value is no record of ours.
    """
    match record:
        case Ranking():
            row: dict[str, Any] = {
                "prompt": prompt_json(record.prompt),
                "completions": list(record.completions),
                "ranks": list(record.ranks),
            }
            optional = {
                "labeler": record.labeler,
                "confidence": record.confidence,
                "none_acceptable": True if record.none_acceptable else None,
            }
            row |= {name: value for name, value in optional.items() if value is not None}
        case Demonstration():
            row = {"prompt": prompt_json(record.prompt), "completion": record.completion}
        case Pair():
            row = {"prompt": prompt_json(record.prompt), "chosen": record.chosen, "rejected": record.rejected}
        case Unpaired():
            row = {"prompt": prompt_json(record.prompt), "completion": record.completion, "label": record.label}
        case Comparison():
            row = {
                "prompt": prompt_json(record.prompt),
                "completion_a": record.completion_a,
                "completion_b": record.completion_b,
                "winner": record.winner,
            }
            further = {"model_a": record.model_a, "model_b": record.model_b, "strength": record.strength, "labeler": record.labeler}
            row |= {name: value for name, value in further.items() if value is not None}
        case Rating():
            row = {"prompt": prompt_json(record.prompt), "completion": record.completion, "overall": record.overall}
            row |= {} if record.labeler is None else {"labeler": record.labeler}
        case Prompt():
            row = {"prompt": prompt_json(record.prompt)}
        case Text():
            row = {"text": record.text}
        case _:
            raise DataError(f"not a record: {type(record).__name__}", hint="pass dictionaries or records of instructloop.core.records")
    return row | {name: value for name, value in record.meta.items() if name not in row}


def write_demonstrations(path: Path, records: Iterable[Demonstration]) -> None:
    """Write demonstrations; ``read_demonstrations`` gives equal records back."""
    _write(path, records)


def write_rankings(path: Path, records: Iterable[Ranking | Pair]) -> None:
    """Write rankings (pairs keep their own layout); ``read_rankings`` gives equal rankings back."""
    _write(path, records)


def write_prompts(path: Path, records: Iterable[Prompt]) -> None:
    """Write prompts; ``read_prompts`` gives equal records back."""
    _write(path, records)


def write_texts(path: Path, records: Iterable[Text]) -> None:
    """Write documents; ``read_texts`` gives equal records back."""
    _write(path, records)


def write_unpaired(path: Path, records: Iterable[Unpaired]) -> None:
    """Write unpaired labels; ``read_unpaired`` gives equal records back."""
    _write(path, records)


def write_comparisons(path: Path, records: Iterable[Comparison]) -> None:
    """Write votes; ``read_comparisons`` gives equal records back, ``evaluate --votes`` reads them where both models are named."""
    _write(path, records)


def write_ratings(path: Path, records: Iterable[Rating]) -> None:
    """Write ratings; ``read_ratings`` gives equal records back."""
    _write(path, records)


def _write(path: Path, records: Iterable[Any]) -> None:
    lines: list[str] = []
    for number, record in enumerate(records, start=1):
        try:
            line = json.dumps(to_row(record), ensure_ascii=False, allow_nan=False) + "\n"
            line.encode("utf-8")
        except (TypeError, ValueError) as error:
            raise DataError(
                f"{path}: record {number} cannot be written as JSON: {error}", hint="meta must hold plain, finite values"
            ) from error
        lines.append(line)
    try:
        if path.name.endswith(".gz"):
            _write_compressed(path, "".join(lines))
        else:
            write_atomic(path, "".join(lines))
    except OSError as error:
        raise DataError(
            f"{path}: cannot be written ({error.strerror})", hint="check free disk space and the rights of the folder"
        ) from error


def _write_compressed(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + PARTIAL_SUFFIX)
    # no time and no name in the header: equal records give equal bytes, so hashes of exports can be compared
    partial.write_bytes(gzip.compress(text.encode("utf-8"), mtime=0))
    partial.replace(path)
