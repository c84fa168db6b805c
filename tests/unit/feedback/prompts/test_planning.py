"""What an import would do, decided without a database."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instructloop.core.errors import ConfigError
from instructloop.feedback.prompts import Defaults, ImportRules, Plan, TokenCounter, find_pii, plan_import, read_inputs
from instructloop.feedback.prompts.planning import KnownPrompt, redacted
from instructloop.feedback.records import prefix_key, prompt_sha256

STORY = "Write a short story where a bear goes to the beach, makes friends with a seal, and then returns home before it rains."


def _plan(tmp_path: Path, *rows: dict[str, Any], known: tuple[KnownPrompt, ...] = (), rules: ImportRules | None = None) -> Plan:
    file = tmp_path / "prompts.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return plan_import(read_inputs(file, Defaults(source="labeler", owner="L1")), known, rules)


def _known(text: str, template: str | None = None) -> KnownPrompt:
    return KnownPrompt("p0", text, prompt_sha256(text), None, prefix_key(text), template)


def test_each_relation_is_counted_once_and_the_first_prompt_stays(tmp_path: Path) -> None:
    head = "You are a bot of the Acme shop and answer what customers ask about parcels, returns and prices. Be friendly. " * 2
    rows = [STORY, STORY.upper(), STORY.replace("rains", "snows"), head + "Where is it?", head + "I want my money back!", "Something new."]
    plan = _plan(tmp_path, *[{"prompt": text} for text in rows])
    assert [prompt.content for prompt in plan.new] == [STORY, head + "Where is it?", "Something new."]
    assert plan.dropped == {"known": 0, "exact": 1, "prefix": 1, "near": 1}
    assert (plan.rows, plan.prompts) == (6, 6)


def test_what_the_store_holds_is_known_and_its_relatives_are_dropped(tmp_path: Path) -> None:
    plan = _plan(tmp_path, {"prompt": STORY}, {"prompt": STORY.lower()}, known=(_known(STORY),))
    assert plan.new == ()
    assert plan.dropped == {"known": 1, "exact": 1, "prefix": 0, "near": 0}


def test_an_erased_prompt_does_not_come_back_by_the_same_import(tmp_path: Path) -> None:
    erased = _known(STORY)._replace(content=None)
    assert _plan(tmp_path, {"prompt": STORY}, known=(erased,)).dropped["known"] == 1


def test_near_duplicates_may_be_kept(tmp_path: Path) -> None:
    rows = [{"prompt": STORY}, {"prompt": STORY.replace("rains", "snows")}]
    assert len(_plan(tmp_path, *rows, rules=ImportRules(near_similarity=0.0)).new) == 2


def test_examples_of_one_template_share_their_instruction_and_all_stay(tmp_path: Path) -> None:
    template = {"instruction": "Rate the sarcasm. " * 15, "examples": [{"query": f"q{i}", "response": str(i)} for i in range(4)]}
    plan = _plan(tmp_path, template)
    assert [prompt.response for prompt in plan.new] == ["0", "1", "2", "3"]
    assert (plan.rows, plan.prompts, len({prompt.prefix_key for prompt in plan.new})) == (1, 4, 1)
    further = _plan(tmp_path, template, rules=ImportRules(fewshot_sets=5, fewshot_shots=2))
    assert further.prompts == 9
    assert len({prompt.content for prompt in further.new}) == 9


def test_personal_data_is_quarantined_with_places_and_without_values(tmp_path: Path) -> None:
    plan = _plan(tmp_path, {"prompt": [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Hello."},
                                       {"role": "user", "content": "I am bob@acme.com"}]}, {"prompt": "What is a bear?"})  # fmt: skip
    first, second = plan.new
    assert first.pii_status == "quarantined"
    assert first.pii_report == {"by": "rules", "spans": [{"type": "email", "rule": "email", "start": 5, "end": 17, "part": 2}]}
    assert (second.pii_status, second.pii_report) == ("clean", {})
    assert plan.personal == {"email": 1}


def test_redaction_at_import_blacks_out_every_turn_and_the_response(tmp_path: Path) -> None:
    plan = _plan(
        tmp_path,
        {"prompt": [{"role": "user", "content": "I am bob@acme.com"}]},
        {"instruction": "Whose?", "examples": [{"query": "a", "response": "ana@mail.com"}, {"query": "b", "response": "nobody's"}]},
        rules=ImportRules(personal="redact"),
    )
    assert [prompt.pii_status for prompt in plan.new] == ["redacted"] * 3
    assert "[EMAIL]" in str(plan.new[0].content)
    assert plan.new[1].response == "[EMAIL]"
    assert "[EMAIL]" in str(plan.new[2].content)
    assert "@" not in str([(prompt.content, prompt.response) for prompt in plan.new])


def test_two_prompts_that_differ_in_what_was_blacked_out_are_one(tmp_path: Path) -> None:
    rows = [{"prompt": f"Write to {name}@mail.com about the party."} for name in ("ana", "bob")]
    assert len(_plan(tmp_path, *rows).new) == 2
    plan = _plan(tmp_path, *rows, rules=ImportRules(personal="redact"))
    assert (len(plan.new), plan.dropped["exact"]) == (1, 1)


def test_lengths_languages_and_meta_are_recorded(tmp_path: Path) -> None:
    words = TokenCounter("words", lambda text: len(text.split()))
    rows = [
        {"prompt": "bear " * 1001},
        {"prompt": "Wie komme ich bitte zum Bahnhof in dieser Stadt?", "flags": {"closed_domain": True}, "id": "x"},
    ]
    plan = _plan(tmp_path, *rows, rules=ImportRules(counter=words))
    assert [prompt.tokens for prompt in plan.new] == [1001, 9]
    assert plan.over_length == 1
    assert plan.languages["de"] == 1
    assert plan.new[1].meta == {"flags": {"closed_domain": "yes"}, "id": "x", "token_rule": "words"}


def test_a_prompt_of_nobody_is_its_own_owner(tmp_path: Path) -> None:
    file = tmp_path / "prompts.jsonl"
    file.write_text('{"prompt": "What is a bear?"}\n{"prompt": "Why do bears sleep all winter?"}\n')
    plan = plan_import(read_inputs(file, Defaults(source="dataset", licence="CC0-1.0")), ())
    assert len({prompt.owner for prompt in plan.new}) == 2


@pytest.mark.parametrize(
    ("options", "said"),
    [({"prefix_chars": 0}, "prefix_chars"), ({"near_similarity": 1.0}, "near_similarity"), ({"fewshot_sets": -1}, "fewshot_sets")],
)
def test_rules_out_of_range_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        ImportRules(**options)


@given(st.text(alphabet="0123456789 .-+()@:/abA\n", max_size=120))
@settings(max_examples=200, deadline=None)
def test_nothing_personal_is_left_in_a_redacted_prompt(text: str) -> None:
    assert find_pii(str(redacted(text))) == []
