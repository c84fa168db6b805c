"""Whatever stands in a file: a record, or an error that names its field. Never a traceback, never half an import."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from instructloop.core.errors import DataError
from instructloop.feedback.exchange import Selection, export, import_feedback
from instructloop.feedback.exchange.csvs import safe_cell
from instructloop.feedback.exchange.incoming import Incoming, Lineage, own_row
from instructloop.formats import read_alpaca_eval, read_argilla, read_hh, read_label_studio, read_oasst
from instructloop.formats.loaded import RowProblemError, Where
from instructloop.testing.projects import new_store

TEXT = st.text(max_size=12)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 9) | st.floats(allow_nan=False, width=16) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
OURS = [
    *Lineage.model_fields,
    *(
        "prompt",
        "completion",
        "completions",
        "ranks",
        "tiers",
        "winner",
        "completion_a",
        "completion_b",
        "overall",
        "flags",
        "prompt_flags",
    ),
    *(
        "critique",
        "input_toxicity",
        "toxicity",
        "relative",
        "continuity",
        "shown",
        "slot",
        "edited_from",
        "chosen",
        "rejected",
        "label",
        "sign",
    ),
]
BASES: list[dict[str, Any]] = [
    {"prompt": "Q?", "completions": ["a", "b"], "ranks": [0, 1]},
    {"prompt": "Q?", "completion": "a"},
    {"prompt": "Q?", "completion_a": "a", "completion_b": "b", "winner": "a"},
    {"prompt": "Q?", "completion": "a", "overall": 4, "flags": {"sexual": "no"}},
    {"prompt": "Q?", "completions": ["a", "b"], "input_toxicity": 1, "toxicity": [0, 1], "relative": [0, 0], "continuity": [7, 1]},
]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(BASES), st.dictionaries(st.sampled_from(OURS), JSON, max_size=3))
def test_any_row_of_ours_is_checked_or_refused_by_field(base: dict[str, Any], changes: dict[str, Any]) -> None:
    try:
        found = own_row(Where("f", 1), {**base, **changes})
    except RowProblemError as problem:
        found, said = None, problem.reason
    else:
        said = "nothing is wrong"
    assert said
    assert found is None or isinstance(found, Incoming)


ARGILLA = {
    "fields": {"prompt": "Q?", "response-1": "a", "response-2": "b"},
    "responses": [
        {
            "user_id": "u",
            "status": "submitted",
            "values": {"p": {"value": [{"rank": 1, "value": "response-1"}, {"rank": 2, "value": "response-2"}]}},
        }
    ],
}
LABEL_STUDIO = {
    "data": {"prompt": "Q?", "text1": "a", "text2": "b"},
    "annotations": [{"completed_by": 1, "result": [{"from_name": "pw", "type": "pairwise", "value": {"selected": "left"}}]}],
}
OASST = {
    "message_tree_id": "p",
    "prompt": {
        "message_id": "p",
        "role": "prompter",
        "text": "Q?",
        "replies": [{"message_id": "a", "role": "assistant", "text": "a", "rank": 0}],
    },
}
ALPACA = {"instruction": "Q?", "output_1": "a", "output_2": "b", "preference": 1}
HH = {"chosen": "\n\nHuman: Q?\n\nAssistant: a", "rejected": "\n\nHuman: Q?\n\nAssistant: b"}
READERS = [(read_argilla, ARGILLA), (read_label_studio, LABEL_STUDIO), (read_oasst, OASST), (read_alpaca_eval, ALPACA), (read_hh, HH)]


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of everything inside a value."""
    found = [path] if path else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return found + [place for name, item in items for place in places(item, (*path, name))]


def put(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """A copy with something else at a path."""
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = put(value[path[0]], path[1:], new)
    return copy


@settings(max_examples=3000, deadline=None)
@given(st.sampled_from(READERS), st.data())
def test_other_tools_rows_with_anything_anywhere_are_read_or_refused(reader: Any, data: st.DataObject) -> None:
    read, row = reader
    changed = put(row, data.draw(st.sampled_from(places(row))), data.draw(JSON))
    try:
        read_it = bool(read([changed]).items)
    except DataError as error:
        read_it = str(error).startswith(("<list>:1", "the list"))
    assert read_it


@settings(max_examples=200, deadline=None)
@given(TEXT)
def test_no_cell_begins_like_a_formula(text: str) -> None:
    assert not safe_cell(text).lstrip(" \u00a0\ufeff").startswith(("=", "+", "-", "@"))


# what every engine and every file can hold: no NUL, no half surrogates; something to read
WRITTEN = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=30).filter(
    lambda text: text.strip() != ""
)


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.lists(st.tuples(WRITTEN, st.lists(WRITTEN, min_size=2, max_size=4), st.data()), min_size=1, max_size=3))
def test_any_texts_survive_export_import_export(tmp_path_factory: pytest.TempPathFactory, groups: Any) -> None:
    home: Path = tmp_path_factory.mktemp("round")
    rows = [
        {
            "prompt": prompt,
            "completions": texts,
            "ranks": data.draw(st.lists(st.integers(0, 3), min_size=len(texts), max_size=len(texts))),
            "labeler": "L1",
        }
        for prompt, texts, data in groups
    ]
    (home / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    first, second = new_store(home / "a"), new_store(home / "b")
    chosen = Selection(purpose="all", include_pii=True)
    import_feedback(first.project, first.db, home / "rows.jsonl")
    export(first.db, home / "one", selection=chosen)
    import_feedback(second.project, second.db, home / "one")
    export(second.db, home / "two", selection=chosen)
    assert {file.name: file.read_bytes() for file in (home / "one").iterdir()} == {
        file.name: file.read_bytes() for file in (home / "two").iterdir()
    }
    first.db.close()
    second.db.close()
