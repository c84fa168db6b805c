"""The world is fixed by its seed, its parts are disjoint, and its corpus says what it should."""

from collections import Counter

import pytest

from instructloop.core.errors import ConfigError
from instructloop.miniature import corpus
from instructloop.miniature.world import SPLITS, attributes_of, make_world

WORLD = make_world(0)


def test_the_same_seed_gives_the_same_world_and_another_seed_another() -> None:
    assert make_world(0) == WORLD
    assert make_world(1) != WORLD


def test_every_name_is_in_exactly_one_split_and_every_split_has_known_and_unknown_names_of_both_kinds() -> None:
    names = Counter(entity.name for entity in WORLD.entities)
    assert max(names.values()) == 1
    for split in SPLITS:
        for kind in ("resident", "town"):
            assert WORLD.known(split, kind)
            assert WORLD.unknown(split, kind)


def test_known_entities_have_four_facts_and_values_are_dealt_evenly() -> None:
    for kind in ("resident", "town"):
        for attribute in attributes_of(kind):
            dealt = Counter(entity.facts[attribute.name] for entity in WORLD.known(kind=kind))
            assert max(dealt.values()) - min(dealt[value] for value in attribute.values) <= 1


def test_a_name_from_nowhere_is_a_clear_error() -> None:
    with pytest.raises(ConfigError, match="nobody in Pebble Bay"):
        WORLD["Gandalf"]


def test_the_corpus_holds_every_kind_of_page_and_repeats_with_its_seed() -> None:
    first = list(corpus.documents(WORLD, 400, 3))
    assert first == list(corpus.documents(WORLD, 400, 3))
    assert {row["kind"] for row in first} == {page.__name__ for page in corpus.PAGES}
    assert min(corpus.PAGES.values()) > 0


def test_held_out_documents_are_other_documents() -> None:
    train = {row["text"] for row in corpus.documents(WORLD, 300, 0)}
    held_out = [row["text"] for row in corpus.documents(WORLD, 300, 0, "heldout")]
    assert sum(text in train for text in held_out) < 6


def test_worksheets_ask_and_never_answer() -> None:
    sheets = [row["text"] for row in corpus.documents(WORLD, 600, 1) if row["kind"] == "worksheet"]
    lines = [line for sheet in sheets for line in sheet.split("\n")]
    assert len(lines) > 100
    questions = sum(line.endswith("?") for line in lines)
    assert questions / len(lines) > 0.8
    assert all(line.endswith("?") or line in ("Questions for today", "Homework", "Quiz of the bay") for line in lines)


def test_encyclopedia_pages_state_only_facts() -> None:
    for row in corpus.documents(WORLD, 300, 2):
        if row["kind"] == "encyclopedia":
            for entry in row["text"].split("\n\n"):
                name, text = entry.split("\n")
                entity = WORLD[name]
                assert all(value in text for value in entity.facts.values())


def test_three_of_four_answers_about_known_entities_are_right() -> None:
    right = total = 0
    for row in corpus.documents(WORLD, 6000, 4):
        if row["kind"] != "qa_page":
            continue
        for pair in row["text"].split("Q: ")[1:]:
            question, answer = pair.strip().split("\nA: ")
            entity = next(e for e in WORLD.entities if e.name in question.replace("?", " ").split())
            if entity.known:
                right += any(value.lower() in answer.lower() for value in entity.facts.values())
                total += 1
    # a wrong draw hits the truth once in about nine
    assert right / total == pytest.approx(0.75 + 0.25 / 9, abs=0.05)
