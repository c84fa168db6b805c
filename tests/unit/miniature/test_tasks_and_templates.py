"""Tasks: ten use cases, parts of the world that never mix, meta that gold can read."""

import json
from collections import defaultdict

import pytest

from instructloop.core.errors import ConfigError
from instructloop.core.seeds import stream
from instructloop.miniature.freeform import freeform_prompts
from instructloop.miniature.tasks import MAKERS, make_prompt, prompts
from instructloop.miniature.templates import FAMILIES, USE_CASES
from instructloop.miniature.world import SPLITS, make_world

WORLD = make_world(0)


def test_every_use_case_of_the_paper_is_there() -> None:
    assert {family.use_case for family in FAMILIES.values()} == set(USE_CASES)
    assert set(MAKERS) == set(FAMILIES)
    assert sum(family.weight for family in FAMILIES.values()) > 0


@pytest.mark.parametrize("kind", sorted(FAMILIES))
def test_no_template_is_shared_between_splits(kind: str) -> None:
    family = FAMILIES[kind]
    wordings = [text for split in SPLITS for text in family.wordings(split)]
    assert len(wordings) == len(set(wordings))


def test_prompts_of_different_splits_share_no_name_no_template_and_no_text() -> None:
    names, templates, texts = defaultdict(set), defaultdict(set), defaultdict(set)
    everyone = {entity.name: entity.split for entity in WORLD.entities}
    for split in SPLITS:
        for prompt in prompts(WORLD, split, 300, 5):
            texts[split].add(prompt.prompt)
            templates[split].add(prompt.meta["template"])
            mentioned = {word.strip(".,!?:") for word in str(prompt.prompt).split()} & set(everyone)
            names[split] |= mentioned
            assert all(everyone[name] == split for name in mentioned), prompt
    for table in (names, templates, texts):
        assert not table["train"] & table["test"]
        assert not table["train"] & table["validation"]
        assert not table["validation"] & table["test"]


def test_meta_is_json_and_says_whether_the_request_is_harmful_and_the_entity_known() -> None:
    for kind in FAMILIES:
        prompt = make_prompt(WORLD, kind, "test", stream(0, "t", kind))
        task = json.loads(json.dumps(prompt.meta))["task"]
        assert task["kind"] == kind
        assert task["harmful"] is (kind in ("insult", "crime"))
        if kind == "unknown":
            assert task["known"] is False


def test_prompts_are_different_repeatable_and_numbered() -> None:
    made = prompts(WORLD, "test", 400, 0)
    assert made == prompts(WORLD, "test", 400, 0)
    assert len({prompt.prompt for prompt in made}) == 400
    assert [made[0].meta["id"], made[399].meta["id"]] == ["test-00000", "test-00399"]


def test_asking_for_more_prompts_than_the_world_holds_is_a_clear_error() -> None:
    with pytest.raises(ConfigError, match="different prompts"):
        prompts(WORLD, "validation", 100, 0, only=["polite"])


def test_there_are_sixty_free_form_prompts_and_none_follows_a_template() -> None:
    free = freeform_prompts(WORLD)
    assert len({prompt.prompt for prompt in free}) == 60
    templated = {p.prompt for split in SPLITS for p in prompts(WORLD, split, 400, 1)}
    assert not templated & {prompt.prompt for prompt in free}
    assert {prompt.meta["use_case"] for prompt in free} <= set(USE_CASES)
