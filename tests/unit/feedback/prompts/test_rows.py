"""Rows of import files: what is read, and that everything malformed names file, line, field and remedy (control 17)."""

import gzip
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from instructloop.core.errors import DataError
from instructloop.core.records import Message
from instructloop.feedback.prompts import Defaults, FewshotTemplate, read_inputs
from instructloop.feedback.prompts import reading as reading_module

CONSENT = {"version": "2026-01", "granted_at": "2026-01-31T12:00:00Z"}
GOOD: dict[str, Any] = {
    "prompt": "Write a short story about a bear.",
    "source": "playground",
    "organization": "acme",
    "user": "bob",
    "use_case": "Generation",
    "flags": {"closed_domain": False, "has_constraint": "yes"},
    "consent": CONSENT,
    "id": 17,
}


def _write(tmp_path: Path, *rows: Any, name: str = "prompts.jsonl") -> Path:
    file = tmp_path / name
    file.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows), encoding="utf-8")
    return file


def test_a_full_row_is_read_field_by_field(tmp_path: Path) -> None:
    ((where, row),) = read_inputs(_write(tmp_path, GOOD))
    assert where.line == 1
    assert (row.content, row.source, row.kind, row.owner, row.use_case) == (GOOD["prompt"], "api", "plain", "acme", "generation")
    assert row.consent is not None
    # date -u -d 2026-01-31T12:00:00Z +%s
    assert (row.consent.version, row.consent.granted_at, row.consent.scope) == ("2026-01", 1_769_860_800_000, "train")
    assert row.external_id == "17"
    assert row.meta == {"flags": {"closed_domain": "no", "has_constraint": "yes"}, "source": "playground"}


def test_conversations_instructions_with_input_and_templates_are_prompts_too(tmp_path: Path) -> None:
    rows = [
        {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi, who are you?"}]},
        {"instruction": "Translate.", "input": "Guten Tag"},
        {"instruction": "Capital?", "examples": [{"query": "Peru", "response": "Lima"}, {"query": "Mali", "response": "Bamako"}]},
    ]
    contents = [row.content for _, row in read_inputs(_write(tmp_path, *rows), Defaults(source="labeler", owner="L1"))]
    assert contents[0] == (Message("system", "Be brief."), Message("user", "Hi, who are you?"))
    assert contents[1] == "Translate.\n\nGuten Tag"
    assert isinstance(contents[2], FewshotTemplate)


def test_csv_and_parquet_give_the_same_rows_as_jsonl(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    rows = [{"prompt": "Say hello,\nplease.", "owner": "L1", "use_case": "chat"}, {"prompt": "Say bye.", "owner": "L2", "use_case": ""}]
    defaults = Defaults(source="labeler")
    text = 'prompt,owner,use_case\n"Say hello,\nplease.",L1,chat\nSay bye.,L2,\n'
    (tmp_path / "prompts.csv").write_text(text)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "prompts.parquet")
    read = [
        [row for _, row in read_inputs(file, defaults)]
        for file in (_write(tmp_path, *rows), tmp_path / "prompts.csv", tmp_path / "prompts.parquet")
    ]
    assert read[0] == read[1] == read[2]


def test_a_folder_written_by_datasets_and_a_split_of_it_are_read(tmp_path: Path) -> None:
    import pyarrow

    for split, text in (("train", "Say hello."), ("test", "Say bye.")):
        folder = tmp_path / "saved" / split
        folder.mkdir(parents=True)
        table = pyarrow.Table.from_pylist([{"prompt": text, "owner": "L1"}])
        with pyarrow.OSFile(str(folder / "data.arrow"), "wb") as sink, pyarrow.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data.arrow"}]}))
    (tmp_path / "saved" / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "test"]}))
    defaults = Defaults(source="labeler")
    assert [row.content for _, row in read_inputs(tmp_path / "saved", defaults)] == ["Say hello."]
    assert [row.content for _, row in read_inputs(f"{tmp_path / 'saved'}#test", defaults)] == ["Say bye."]


def test_consent_may_come_in_flat_columns(tmp_path: Path) -> None:
    file = tmp_path / "prompts.csv"
    file.write_text("prompt,source,user,consent_version,consent_at,consent_scope\nHello there,api,bob,v2,2026-01-31T13:00:00+01:00,eval\n")
    ((_, row),) = read_inputs(file)
    assert row.consent == ("v2", 1_769_860_800_000, "eval")


def test_fields_may_be_renamed_and_unknown_ones_kept_when_asked(tmp_path: Path) -> None:
    file = _write(tmp_path, {"question": "Why is the sky blue?", "source": "quora", "score": 3})
    defaults = Defaults(source="dataset", licence="CC0-1.0", rename={"question": "prompt", "source": "origin"}, keep_unknown=True)
    ((_, row),) = read_inputs(file, defaults)
    assert (row.content, row.meta) == ("Why is the sky blue?", {"origin": "quora", "score": 3})


BAD: list[tuple[str, Any, str, str]] = [
    ("no prompt", {**GOOD, "prompt": None}, "prompt: is missing", "mend"),
    ("empty prompt", {**GOOD, "prompt": "  "}, "prompt: is empty", "mend"),
    ("prompt is a number", {**GOOD, "prompt": 5}, "prompt: must be a list of messages", "mend"),
    ("conversation ends wrong", {**GOOD, "prompt": [{"role": "assistant", "content": "hi"}]}, "prompt: must end in a user turn", "mend"),
    ("messages end wrong", {"messages": [{"role": "assistant", "content": "x"}], "source": "synthetic"}, "messages: must end in", "mend"),
    ("no source", {"prompt": "x", "owner": "a"}, "source: is missing", "--source"),
    ("unknown source", {**GOOD, "source": "web"}, "source: unknown source 'web'", "playground"),
    ("source is a list", {**GOOD, "source": ["api"]}, "source: must be a text, got list", "text"),
    ("no owner of a customer's prompt", {**GOOD, "organization": None, "user": None}, "owner: is missing", "--owner"),
    ("no owner of a labeler's prompt", {"prompt": "x", "source": "labeler"}, "owner: is missing", "--owner"),
    ("owner is an object", {**GOOD, "organization": {"a": 1}}, "organization: must be a text, got dict", "text"),
    ("no consent", {**GOOD, "consent": None}, "consent: is missing", "granted_at"),
    ("consent is a text", {**GOOD, "consent": "yes"}, "consent: must be an object, got str", "version"),
    ("consent without version", {**GOOD, "consent": {"granted_at": 1_769_860_800_000}}, "consent.version: is missing", "notice"),
    ("consent without time", {**GOOD, "consent": {"version": "1"}}, "consent.granted_at: is missing", "notice"),
    ("consent without zone", {**GOOD, "consent": {**CONSENT, "granted_at": "2026-01-31T12:00:00"}}, "has no time zone", "Z"),
    ("consent in seconds", {**GOOD, "consent": {**CONSENT, "granted_at": 1_769_860_800}}, "is no time in milliseconds", "milliseconds"),
    ("consent with nonsense", {**GOOD, "consent": {**CONSENT, "granted_at": "yesterday"}}, "'yesterday' is no time", "2026"),
    ("consent with another type", {**GOOD, "consent": {**CONSENT, "granted_at": [1]}}, "must be a time, got list", "2026"),
    ("consent of another scope", {**GOOD, "consent": {**CONSENT, "scope": "sell"}}, "consent.scope: unknown scope", "publish"),
    ("consent withdrawn", {**GOOD, "consent": {**CONSENT, "revoked_at": "2026-02-01T00:00:00Z"}}, "was withdrawn", "leave the row out"),
    ("no licence of a data set", {"prompt": "x", "source": "dataset"}, "licence: is missing", "--licence"),
    ("licence too long", {"prompt": "x", "source": "dataset", "licence": "x" * 201}, "licence: is 201 characters long", "shorten"),
    ("unknown use case", {**GOOD, "use_case": "juggling"}, "use_case: unknown use case 'juggling'", "brainstorming"),
    ("unknown kind", {**GOOD, "kind": "fancy"}, "kind: unknown kind 'fancy'", "fewshot"),
    ("unknown flag", {**GOOD, "flags": {"funny": True}}, "flags.funny: is no known flag", "closed_domain"),
    ("flag with a number", {**GOOD, "flags": {"closed_domain": 3}}, "flags.closed_domain: must be yes, no or na", "leave out"),
    ("flags as a list", {**GOOD, "flags": ["closed_domain"]}, "flags: must be an object", "closed_domain"),
    ("misspelt field", {**GOOD, "use_caes": "chat"}, "use_caes: is no field of a prompt; did you mean 'use_case'", "--keep-unknown"),
    ("field of 200 kB", {**GOOD, "prompt": "x" * 200_000}, "prompt: is 200,000 bytes long; the most is 64,000", "shorten"),
    ("owner of 200 kB", {**GOOD, "organization": "x" * 200_000}, "organization: is 200,000 bytes long", "shorten"),
    ("long conversation", {**GOOD, "prompt": [{"role": "user", "content": "x"}] * 9000}, "bytes long; the most is 64,000", "shorten"),
    ("NUL character", {**GOOD, "prompt": "a\0b"}, "prompt: holds a NUL", "take it out"),
    ("half a surrogate", '{"prompt": "\\ud800", "source": "synthetic"}', "prompt: holds half of a surrogate pair", "mend"),
    ("not a number", '{"prompt": "x", "source": "synthetic", "flags": {"pii": NaN}}', "flags: holds nan", "null"),
    ("too deep", {**GOOD, "flags": {"a": [[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]}}, "flags: is nested more than 20 deep", "flatten"),
    ("no JSON", '{"prompt": "x"', "not valid JSON", "mend"),
    ("no object", "[1, 2]", "a row must be an object", "mend"),
    ("examples as a text", {"instruction": "x", "examples": "a", "source": "synthetic"}, "examples: must be a list", "spec A8"),
    ("example as a text", {"instruction": "x", "examples": ["a", "b"], "source": "synthetic"}, r"examples\[0\]: must be an object", "A8"),
    ("example without response", {"instruction": "x", "examples": [{"query": "a"}, {"query": "b"}], "source": "synthetic"},
     r"examples\[0\].response: is missing", "add it"),
    ("one example", {"instruction": "x", "examples": [{"query": "a", "response": "b"}], "source": "synthetic"}, "at least 2", "add pairs"),
    ("examples without instruction", {"examples": [{"query": "a", "response": "b"}] * 2, "source": "synthetic"}, "instruction: is missing", "mend"),
    ("examples of another kind", {"instruction": "x", "kind": "plain", "source": "synthetic",
     "examples": [{"query": "a", "response": "b"}, {"query": "c", "response": "d"}]}, "kind: is 'plain', but the row has examples", "fewshot"),
]  # fmt: skip


@pytest.mark.parametrize(("row", "said", "remedy"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_a_malformed_row_names_file_line_field_and_remedy(tmp_path: Path, row: Any, said: str, remedy: str) -> None:
    file = _write(tmp_path, {**GOOD, "id": 1}, {**GOOD, "id": 2}, row)
    with pytest.raises(DataError, match=r"prompts\.jsonl:3: .*" + said) as caught:
        read_inputs(file)
    assert remedy in (caught.value.hint or "")
    assert "nothing was imported" in (caught.value.hint or "")


def test_a_repeated_id_names_both_lines(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"prompts\.jsonl:2: id: '17' stands at line 1 already"):
        read_inputs(_write(tmp_path, GOOD, {**GOOD, "prompt": "Another one."}))


def test_several_bad_rows_are_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read_inputs(_write(tmp_path, *[{**GOOD, "id": n, "source": "web" if n % 2 else "api"} for n in range(20)]))
    assert [line in caught.value.message for line in (":2: source", ":4: source", ":10: source", "...")] == [True] * 4


def test_bytes_that_are_no_utf8_name_their_line(tmp_path: Path) -> None:
    file = tmp_path / "prompts.jsonl"
    file.write_bytes(json.dumps(GOOD).encode() + b'\n{"prompt": "\xff\xfe", "source": "synthetic"}\n')
    with pytest.raises(DataError, match=r"prompts\.jsonl:2: not valid UTF-8 \(byte 0xff"):
        read_inputs(file)


@pytest.mark.parametrize("cell", ["=cmd|' /C calc'!A0", "@SUM(A1)", "+1+1", "-2+3", "\t=1"])
def test_a_cell_that_a_spreadsheet_would_run_is_refused_in_csv_and_kept_as_text_in_jsonl(tmp_path: Path, cell: str) -> None:
    file = tmp_path / "prompts.csv"
    file.write_text(f'prompt,owner\nfine,a\n"{cell}",b\n')
    with pytest.raises(DataError, match=r"prompts\.csv:3: prompt: starts with .*formula"):
        read_inputs(file, Defaults(source="labeler"))
    ((_, row),) = read_inputs(_write(tmp_path, {"prompt": cell, "owner": "b"}), Defaults(source="labeler"))
    assert row.content == cell


def test_a_list_in_a_csv_cell_is_no_formula(tmp_path: Path) -> None:
    file = tmp_path / "prompts.csv"
    file.write_text('prompt,owner\n"- one\n- two\nAdd a third.",a\n')
    assert len(read_inputs(file, Defaults(source="labeler"))) == 1


def test_zip_pickle_and_hub_names_are_no_import_files(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "prompts.zip", "w") as archive:
        archive.writestr("a.jsonl", json.dumps(GOOD))
    (tmp_path / "prompts.pkl").write_bytes(b"\x80\x04]\x94.")
    for name in ("prompts.zip", "prompts.pkl"):
        with pytest.raises(DataError, match="unknown file type"):
            read_inputs(tmp_path / name)
    with pytest.raises(DataError, match="no such file: owner/name"):
        read_inputs("owner/name")


def test_files_beyond_the_limit_are_refused_before_they_are_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading_module, "MOST_BYTES", 100_000)
    with gzip.open(tmp_path / "bomb.jsonl.gz", "wb") as stream:
        stream.write(b" " * 5_000_000)
    assert (tmp_path / "bomb.jsonl.gz").stat().st_size < 100_000
    big = _write(tmp_path, *[{**GOOD, "id": n} for n in range(500)])
    for file in (tmp_path / "bomb.jsonl.gz", big, tmp_path):
        with pytest.raises(DataError, match="holds more than"):
            read_inputs(file)


@pytest.mark.parametrize(
    ("name", "body", "said"),
    [
        ("cut.jsonl.gz", gzip.compress(b'{"prompt": "x"}\n')[:-9], "damaged or cut off"),
        ("empty.jsonl", b"", "holds no rows"),
        ("deep.json", b"[" * 100_000, "nested too deeply"),
        ("digits.jsonl", b'{"prompt": ' + b"9" * 5000 + b"}\n", "cannot be read|must be"),
        ("torn.csv", b'prompt,owner\n"half a cell,a\n', "not valid CSV"),
        ("ragged.csv", b"prompt,owner\na,b,c\n", "3 columns where the header has 2"),
        ("broken.parquet", b"PAR1 nonsense", "not a readable Parquet file"),
    ],
)
def test_damaged_files_are_errors_about_the_file(tmp_path: Path, name: str, body: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(body)
    with pytest.raises(DataError, match=said):
        read_inputs(tmp_path / name, Defaults(source="labeler", owner="a"))


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
fields = st.sampled_from(
    [
        "prompt",
        "messages",
        "instruction",
        "examples",
        "source",
        "kind",
        "owner",
        "user",
        "use_case",
        "flags",
        "consent",
        "licence",
        "id",
        "x",
    ]
)
rows = st.dictionaries(fields, values | st.sampled_from(["playground", "labeler", "Hello", "chat", CONSENT, "synthetic"]), max_size=6)


@given(st.lists(rows, min_size=1, max_size=3))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_row_is_read_or_refused_with_a_place(tmp_path: Path, found: list[dict[str, Any]]) -> None:
    file = _write(tmp_path, *found)
    refusal = _refusal(file, Defaults())
    if refusal is None:
        assert len(read_inputs(file)) == len(found)
    else:
        assert "prompts.jsonl" in refusal.message
        assert refusal.hint


def _refusal(file: Path, defaults: Defaults) -> DataError | None:
    """Any other exception is a bug of ours and comes through."""
    try:
        read_inputs(file, defaults)
    except DataError as error:
        return error
    return None


@given(st.binary(max_size=200), st.sampled_from(["a.jsonl", "a.json", "a.csv", "a.tsv", "a.jsonl.gz"]))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_read_or_refused(tmp_path: Path, body: bytes, name: str) -> None:
    file = tmp_path / name
    file.write_bytes(body)
    refusal = _refusal(file, Defaults(source="synthetic", keep_unknown=True))
    assert refusal is None or name in refusal.message
