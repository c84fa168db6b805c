"""What the prompt pipeline asks of every snapshot: no long prompts in training, at most 200 of one owner for PPO (spec A4, A7)."""

from typing import Any

from instructloop.feedback.exchange.gather import ConsentItem, PromptItem
from instructloop.feedback.exchange.selection import Selection, ppo_prompts, prompt_problem
from instructloop.feedback.prompts import PER_OWNER


def _item(number: int, **changed: Any) -> PromptItem:
    consent = ConsentItem(id="c", scope="train", text_version="1", revoked=False)
    values = {
        "id": str(number), "content": f"Prompt {number}", "sha256": f"sha256:{number}", "source": "api", "kind": "plain", "owner": "a",
        "split": "train", "language": "en", "use_case": None, "tokens": 10, "pii_status": "clean", "consent": consent, "licence": None, "meta": {},
    }  # fmt: skip
    return PromptItem(**{**values, **changed})


def test_a_prompt_longer_than_1000_tokens_stays_out_of_training_and_may_be_evaluated_on() -> None:
    assert prompt_problem(_item(0, tokens=1000), Selection()) is None
    assert prompt_problem(_item(0, tokens=1001), Selection()) == "too_long"
    assert prompt_problem(_item(0, tokens=1001), Selection(purpose="evaluation")) is None


def test_a_snapshot_takes_at_most_200_ppo_prompts_of_one_owner_and_a_full_copy_takes_all() -> None:
    prompts = [_item(n) for n in range(250)] + [_item(n, owner="b") for n in range(250, 255)]
    kept = ppo_prompts(prompts, Selection())
    assert [sum(prompt.owner == owner for prompt in kept) for owner in "ab"] == [PER_OWNER, 5]
    assert ppo_prompts(prompts, Selection()) == kept
    assert len(ppo_prompts(prompts, Selection(purpose="all"))) == 255
    assert "at most 200 an owner" in Selection().rules()["ppo_prompts"]
