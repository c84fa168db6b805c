"""Formats under random input: round trips, splits, and no exception but our own."""

import gzip
import json
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from instructloop.core.records import Demonstration, Message, Ranking, dense_ranks
from instructloop.formats import read_demonstrations, read_prompts, read_rankings, split_by_prompt, write_demonstrations, write_rankings

QUICK = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12).filter(lambda text: text.strip())
turns = st.lists(st.builds(Message, st.sampled_from(["system", "user", "assistant"]), texts), max_size=3)
prompts = texts | st.builds(lambda before, last: (*before, Message("user", last)), turns, texts)
plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts
metas = st.dictionaries(texts.map(lambda name: f"x{name}"), plain | st.lists(plain, max_size=2), max_size=2)


@st.composite
def rankings(draw: st.DrawFn) -> Ranking:
    completions = draw(st.lists(texts, min_size=2, max_size=6, unique=True))
    some = st.none() | st.integers(-9, 9)
    ranks = draw(st.lists(some, min_size=len(completions), max_size=len(completions)).filter(lambda r: len(r) - r.count(None) >= 2))
    return Ranking(
        prompt=draw(prompts),
        completions=tuple(completions),
        ranks=dense_ranks(tuple(ranks)),
        labeler=draw(st.none() | texts),
        confidence=draw(st.none() | st.floats(0, 1)),
        none_acceptable=draw(st.booleans()),
        meta=draw(metas),
    )


@QUICK
@given(st.lists(st.builds(Demonstration, prompt=prompts, completion=texts, meta=metas), min_size=1, max_size=4))
def test_written_demonstrations_read_back_equal(tmp_path: Path, records: list[Demonstration]) -> None:
    write_demonstrations(tmp_path / "x.jsonl", records)
    assert list(read_demonstrations(tmp_path / "x.jsonl")) == records


@QUICK
@given(st.lists(rankings(), min_size=1, max_size=4))
def test_written_rankings_read_back_equal(tmp_path: Path, records: list[Ranking]) -> None:
    write_rankings(tmp_path / "x.jsonl.gz", records)
    assert list(read_rankings(tmp_path / "x.jsonl.gz")) == records


json_values = st.recursive(plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3))
GOOD_ROW = {"prompt": "q", "completion": "a", "completions": ["a", "b"], "ranks": [0, 1]}
FIELDS = ["prompt", "completion", "completions", "ranks", "chosen", "rejected", "messages", "instruction", "label", "none_acceptable"]


@QUICK
@given(st.lists(st.dictionaries(st.sampled_from(FIELDS), json_values, max_size=5), max_size=5))
def test_any_json_row_is_read_refused_or_skipped_but_never_crashes(rows: list[dict[str, Any]]) -> None:
    for reader in (read_demonstrations, read_rankings, read_prompts):
        loaded = reader([*rows, GOOD_ROW], skip_bad_rows=True)
        assert len(loaded) + loaded.skipped_rows == len(rows) + 1


@QUICK
@given(st.binary(max_size=60), st.integers(0, 30), st.booleans())
def test_damaged_bytes_are_charged_to_their_lines(tmp_path: Path, noise: bytes, place: int, packed: bool) -> None:
    good = json.dumps({"prompt": "q", "completion": "a"}).encode() + b"\n"
    raw = good + good[:place] + noise.replace(b"\n", b"") + good[place:] + good
    path = tmp_path / ("x.jsonl.gz" if packed else "x.jsonl")
    path.write_bytes(gzip.compress(raw) if packed else raw)
    loaded = read_demonstrations(path, skip_bad_rows=True)
    assert len(loaded) + loaded.skipped_rows == 3
    assert all(skip.line == 2 for skip in loaded.skipped)


@QUICK
@given(st.lists(texts, min_size=1, max_size=30), st.floats(0, 0.99), st.integers(0, 5), st.randoms(use_true_random=False))
def test_a_split_is_a_partition_by_prompt_whatever_the_order(names: list[str], fraction: float, seed: int, random: Any) -> None:
    records = [Demonstration(prompt=name, completion=str(row)) for row, name in enumerate(names)]
    train, held_out = split_by_prompt(records, fraction, seed)
    assert sorted([*train, *held_out], key=lambda record: int(record.completion)) == records
    assert {record.prompt for record in train}.isdisjoint(record.prompt for record in held_out)
    shuffled = random.sample(records, len(records))
    assert {record.prompt for record in split_by_prompt(shuffled, fraction, seed)[1]} == {record.prompt for record in held_out}
