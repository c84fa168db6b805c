"""Which prompts are due for completions, and how they become tasks."""

from collections import Counter

import pytest
from sqlalchemy import select

from instructloop.core.errors import ConfigError, DataError
from instructloop.feedback.database import Database
from instructloop.feedback.guidelines import seed
from instructloop.feedback.records import add_prompt
from instructloop.feedback.sampled import Drawn, ToLabel, Weights, due_prompts, put_to_compare, put_to_label
from instructloop.feedback.schema import Audit, Checkpoint, CompletionRow, Consent, Task, TaskItem

MODELS = [Weights(name="runs/a", sha256="sha256:a", stage="sft"), Weights(name="runs/b", sha256="sha256:b", stage="ppo")]


def add(db: Database, text: str, **changes: object) -> str:
    values = {"source": "dataset", "owner": f"sha256:{text}", "split": "train", "pii_status": "clean", **changes}
    with db.write() as session:
        return add_prompt(session, prompt=text, **values)[0]  # type: ignore[arg-type]


def items(*prompts: str, k: int = 2) -> list[ToLabel]:
    return [
        ToLabel(
            prompt_id=prompt, completions=tuple(Drawn(text=f"{prompt} {n}", model=n % 2, sampling={"seed": 1}, draw=n) for n in range(k))
        )
        for prompt in prompts
    ]


def test_only_prompts_that_may_be_shown_and_trained_on_are_due(database: Database) -> None:
    seed(database)
    with database.write() as session:
        given = Consent(text_version="1", scope="train")
        closed = Consent(text_version="1", scope="train", revoked_at=5)
        looks = Consent(text_version="1", scope="eval")
        session.add_all([given, closed, looks])
        session.flush()
        consents = {"given": given.id, "closed": closed.id, "looks": looks.id}
    good = {
        add(database, "fine"),
        add(database, "black", pii_status="redacted"),
        add(database, "ours", source="api", consent_id=consents["given"]),
    }
    add(database, "pii", pii_status="quarantined")
    add(database, "unseen", pii_status="unchecked")
    add(database, "no", source="api")
    add(database, "gone", source="api", consent_id=consents["closed"])
    add(database, "eval only", source="api", consent_id=consents["looks"])
    add(database, "long", tokens=1001)
    add(database, "other", split="valid")
    due = due_prompts(database, queue="q")
    assert {prompt.meta["prompt_id"] for prompt in due.prompts} == good
    assert due.passed_over == {
        "personal_data_quarantined": 1,
        "personal_data_unchecked": 1,
        "no_consent": 1,
        "consent_revoked": 1,
        "consent_of_another_scope": 1,
        "too_long": 1,
    }


def test_the_order_is_drawn_by_the_seed_and_the_cap_holds_over_several_calls(database: Database) -> None:
    seed(database)
    ids = [add(database, f"p{n}", owner="sha256:big") for n in range(6)]
    first = due_prompts(database, queue="q", per_owner=4, limit=3, seed=1)
    assert due_prompts(database, queue="q", per_owner=4, limit=3, seed=1) == first
    put_to_label(database, queue="q", kind="rank", models=MODELS, items=items(*(str(prompt.meta["prompt_id"]) for prompt in first.prompts)))
    second = due_prompts(database, queue="q", per_owner=4, seed=1)
    assert len(first.prompts) == 3
    assert len(second.prompts) == 1
    assert second.passed_over == {"over_the_owner_cap": 2, "in_the_queue_already": 3}
    assert {prompt.meta["prompt_id"] for prompt in (*first.prompts, *second.prompts)} < set(ids)


def test_filling_again_after_a_crash_adds_only_what_is_missing(database: Database) -> None:
    seed(database)
    prompts = [add(database, f"p{n}") for n in range(3)]
    assert len(put_to_label(database, queue="q", kind="rank", models=MODELS, items=items(prompts[0], k=3))) == 1
    assert len(put_to_label(database, queue="q", kind="rank", models=MODELS, items=items(*prompts, k=3))) == 2
    with database.read() as session:
        assert session.query(Task).count() == 3
        assert session.query(Checkpoint).count() == 2
        assert session.query(Audit).filter_by(action="queue.fill").count() == 2
    with pytest.raises(ConfigError, match="of kind rank, not rate"):
        put_to_label(database, queue="q", kind="rate", models=MODELS, items=[])
    with pytest.raises(ConfigError, match="does not take completions"):
        put_to_label(database, queue="x", kind="demonstration", models=MODELS, items=[])


def test_a_comparison_is_balanced_by_slot_and_its_plan_is_frozen(database: Database) -> None:
    seed(database)
    prompts = [add(database, f"p{n}", split="test") for n in range(7)]
    tasks = put_to_compare(database, queue="c", models=MODELS, items=items(*prompts), plan={"question": "?"}, seed=3)
    with database.read() as session:
        slots = session.query(TaskItem.completion_id).filter(TaskItem.slot == 0)
        first = Counter(session.scalars(select(CompletionRow.checkpoint_id).where(CompletionRow.id.in_(slots))))
    assert len(tasks) == 7
    assert sorted(first.values()) == [3, 4]
    with pytest.raises(ConfigError, match="its plan is frozen"):
        put_to_compare(database, queue="c", models=MODELS, items=items(prompts[0]), plan={})
    with pytest.raises(ConfigError, match="needs two models"):
        put_to_compare(database, queue="d", models=MODELS[:1], items=[], plan={})
    with pytest.raises(DataError, match="one completion of each model"):
        put_to_compare(database, queue="d", models=MODELS, items=items(prompts[0], k=3), plan={})
