"""Every file layout gives the same rows, and a bad row is charged to its own line."""

import csv
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from instructloop.core.errors import DataError, MissingExtraError
from instructloop.core.records import Message
from instructloop.formats import read_demonstrations, read_rankings, read_rows, read_unpaired
from instructloop.formats.loaded import RowProblemError
from instructloop.formats.rows import find_rows

ROWS: list[dict[str, Any]] = [{"prompt": "a\nb", "completion": 'c, "d"', "n": 1}, {"prompt": "é", "completion": "日本\u2028x", "n": 2}]


def write_lines(path: Path) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS), encoding="utf-8")


def write_gzip(path: Path) -> None:
    path.write_bytes(gzip.compress("\n".join(json.dumps(row) for row in ROWS).encode()))


def write_document(path: Path) -> None:
    path.write_text(json.dumps(ROWS, indent=2), encoding="utf-8")


def write_wrapped(path: Path) -> None:
    path.write_text(json.dumps({"version": 1, "data": ROWS}), encoding="utf-8")


def write_parquet(path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="needs the extra 'files'")
    pytest.importorskip("pyarrow.parquet").write_table(pyarrow.Table.from_pylist(ROWS), path)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("rows.jsonl", write_lines),
        ("rows.ndjson", write_lines),
        ("rows.jsonl.gz", write_gzip),
        ("rows.json", write_document),
        ("lines.json", write_lines),
        ("wrapped.json", write_wrapped),
        ("rows.parquet", write_parquet),
    ],
)
def test_every_layout_gives_the_same_rows(tmp_path: Path, name: str, write: Callable[[Path], None]) -> None:
    write(tmp_path / name)
    found = list(read_rows(tmp_path / name))
    assert [row for _, row in found] == ROWS
    assert [str(where) for where, _ in found] == [f"{tmp_path / name}:1", f"{tmp_path / name}:2"]
    assert list(read_rows(str(tmp_path / name))) == found


@pytest.mark.parametrize(("suffix", "delimiter"), [("csv", ","), ("tsv", "\t")])
def test_separated_values_keep_commas_quotes_and_line_breaks(tmp_path: Path, suffix: str, delimiter: str) -> None:
    path = tmp_path / f"rows.{suffix}"
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, ["prompt", "completion", "n"], delimiter=delimiter)
        writer.writeheader()
        writer.writerows(ROWS)
    assert [row for _, row in read_rows(path)] == [row | {"n": str(row["n"])} for row in ROWS]
    assert [where.line for where, _ in read_rows(path)] == [3, 4]  # the first row spans lines 2 and 3


def test_csv_cells_hold_lists_as_json(tmp_path: Path) -> None:
    path = tmp_path / "rankings.csv"
    path.write_text('prompt,completions,ranks,labeler,confidence\n[draft] q,"[""a"", ""b""]","[0, null]",,0.5\n', encoding="utf-8")
    (_, row), *_ = read_rows(path)
    assert row == {"prompt": "[draft] q", "completions": ["a", "b"], "ranks": [0, None], "labeler": None, "confidence": 0.5}


def test_csv_cells_hold_conversations_and_labels(tmp_path: Path) -> None:
    path = tmp_path / "kto.csv"
    path.write_text('prompt,completion,label\n"[{""role"": ""user"", ""content"": ""q""}]",[sic] a,False\n', encoding="utf-8")
    (record,) = read_unpaired(path)
    assert record.prompt == (Message("user", "q"),)
    assert record.completion == "[sic] a"
    assert record.label is False


def test_a_large_csv_cell_is_read(tmp_path: Path) -> None:
    path = tmp_path / "long.csv"
    path.write_text("prompt,completion\nq," + "x" * 200_000 + "\n", encoding="utf-8")
    assert len(read_demonstrations(path).records[0].completion) == 200_000


def test_blank_lines_and_a_byte_order_mark_are_no_rows(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}\n\n   \n{"a": 2}\n')
    assert [(where.line, row) for where, row in read_rows(path)] == [(1, {"a": 1}), (4, {"a": 2})]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"a": "\xff"}', r"not valid UTF-8 \(byte 0xff at position 8 of the line\)"),
        (b'{"a": 1', "not valid JSON"),
        (b"[1, 2]", "must be an object with named fields, not a list"),
        (b'"text"', "not a text"),
        (b"null", "not null"),
    ],
)
def test_a_bad_line_names_its_file_and_line(tmp_path: Path, line: bytes, reason: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_bytes(b'{"a": 1}\n' + line + b'\n{"a": 3}\n')
    with pytest.raises(DataError, match=rf"bad\.jsonl:2: .*{reason}") as caught:
        list(read_rows(path))
    assert caught.value.hint is not None
    kinds = [type(row) for _, row in find_rows(path)]
    assert kinds == [dict, RowProblemError, dict]


def test_bad_bytes_in_csv_are_charged_to_their_row_and_column(tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    path.write_bytes(b"prompt,completion\nq,caf\xe9\nq,fine\n")
    with pytest.raises(DataError, match=r"bad\.csv:2: completion: not valid UTF-8 \(byte 0xe9\)"):
        list(read_rows(path))
    assert len(read_demonstrations(path, skip_bad_rows=True)) == 1


def test_a_csv_row_with_too_few_columns_is_bad(tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    path.write_text("prompt,completion\nq\nq,a\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"bad\.csv:2: 1 columns where the header has 2"):
        list(read_rows(path))


def test_broken_csv_quotes_are_a_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    path.write_text('prompt,completion\n"q"x,a\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"bad\.csv:2: not valid CSV"):
        list(read_rows(path))


def test_a_broken_json_document_names_its_line(tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    path.write_text('[{"a": 1},\n {"a": }]', encoding="utf-8")
    with pytest.raises(DataError, match=r"bad\.json:2: not valid JSON"):
        list(read_rows(path))
    path.write_bytes(b'[{"a": 1},\n {"a": "\xff"}]')
    with pytest.raises(DataError, match=r"bad\.json:2: not valid UTF-8 \(byte 0xff\)"):
        list(read_rows(path))


def test_a_cut_off_gzip_file_is_a_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl.gz"
    write_gzip(path)
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(DataError, match="damaged or cut off"):
        list(read_rows(path))
    path.write_bytes(b"not gzip at all")
    with pytest.raises(DataError, match="damaged or cut off"):
        list(read_rows(path))


@pytest.mark.parametrize("name", ["absent.jsonl", "owner/absent.jsonl", "absent.parquet", "absent"])
def test_a_missing_file_is_a_clear_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="no such file"):
        list(read_rows(tmp_path / name))


def test_an_unknown_file_type_names_the_known_ones(tmp_path: Path) -> None:
    path = tmp_path / "rows.xlsx"
    path.write_bytes(b"PK")
    with pytest.raises(DataError, match="unknown file type") as caught:
        list(read_rows(path))
    assert ".parquet" in str(caught.value.hint)


def test_a_damaged_parquet_file_is_a_clear_error(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="needs the extra 'files'")
    path = tmp_path / "rows.parquet"
    path.write_bytes(b"PAR1 but no more")
    with pytest.raises(DataError, match="not a readable Parquet file"):
        list(read_rows(path))


def test_parquet_ranks_with_nulls_keep_their_order(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="needs the extra 'files'")
    parquet = pytest.importorskip("pyarrow.parquet")
    row = {"prompt": "q", "completions": ["a", "b", "c"], "ranks": [2.0, None, 1.0]}
    parquet.write_table(pyarrow.Table.from_pylist([row]), tmp_path / "r.parquet")
    assert read_rankings(tmp_path / "r.parquet").records[0].ranks == (1, None, 0)


def test_without_pyarrow_the_remedy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    (tmp_path / "rows.parquet").write_bytes(b"")
    with pytest.raises(MissingExtraError, match="pyarrow") as caught:
        list(read_rows(tmp_path / "rows.parquet"))
    assert caught.value.hint == "pip install 'instructloop[files]'"
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved/state.json").write_text("{}")
    with pytest.raises(MissingExtraError, match="pyarrow"):
        list(read_rows(tmp_path / "saved"))


def test_a_hub_name_without_the_library_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    with pytest.raises(MissingExtraError, match="there is no file 'owner/name'") as caught:
        list(read_rows("owner/name"))
    assert "pip install datasets" in str(caught.value.hint)


def test_json_nested_beyond_reason_is_a_bad_line_and_no_crash(tmp_path: Path) -> None:
    path = tmp_path / "deep.jsonl"
    path.write_text('{"a": ' + "[" * 100_000 + "]" * 100_000 + "}\n")
    with pytest.raises(DataError, match=r"deep\.jsonl:1: JSON nested too deeply"):
        list(read_rows(path))


def test_a_csv_confidence_in_words_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_text('prompt,chosen,rejected,confidence\nq,"[a] b","{c",high\n\nq,a,b,\n', encoding="utf-8")
    rows = [row for _, row in read_rows(path)]
    assert rows[0] == {"prompt": "q", "chosen": "[a] b", "rejected": "{c", "confidence": "high"}
    assert rows[1]["confidence"] is None
