"""What may leave the store, for what purpose; every answer that stays behind has a reason, and reasons are counted."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from instructloop.core.errors import ConfigError
from instructloop.feedback.exchange.gather import Given, PromptItem
from instructloop.feedback.prompts.lengths import TRAINING_LIMIT_TOKENS
from instructloop.feedback.prompts.owners import PER_OWNER, at_most_per_owner
from instructloop.feedback.schema.people import COHORTS
from instructloop.feedback.schema.prompts import SCOPES, SOURCES, SPLITS

Purpose = Literal["training", "evaluation", "all"]
_PURPOSES = ("training", "evaluation", "all")
_COHORTS: dict[str, tuple[str, ...]] = {"training": ("training",), "evaluation": ("training", "heldout", "researcher"), "all": COHORTS}
_SPLITS: dict[str, tuple[str, ...]] = {"training": ("train", "valid"), "evaluation": SPLITS, "all": SPLITS}
_SCOPES: dict[str, tuple[str, ...]] = {"training": ("train", "publish"), "evaluation": SCOPES, "all": SCOPES}
"""Scopes of consent that cover a purpose: who lets a prompt be published lets it be trained on, and that covers evaluation."""
_SAFE = ("clean", "redacted")


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which answers and prompts an export takes."""

    purpose: Purpose = "training"
    """``training`` obeys all rules of training data; ``evaluation`` adds held-out labelers and researchers; ``all`` is a full copy."""
    cohorts: tuple[str, ...] = ()
    """Cohorts of labelers; empty = those of the purpose. Held-out labelers are never a source of training data (spec B3)."""
    splits: tuple[str, ...] = ()
    """Splits of the prompts; empty = train and valid for training, else all."""
    prompt_sources: tuple[str, ...] = ("api",)
    """Sources of the PPO prompts; the paper took them from customers only (spec A9)."""
    include_pii: bool = False
    """Also comments, notes, the imported rows' further fields, and prompts that are not known to be clean."""
    include_gold: bool = False
    """Also answers to gold items."""
    include_surplus: bool = True
    """Answers that came after their slot was filled (marked ``surplus`` in the row)."""

    def __post_init__(self) -> None:
        """Refuse what the rules forbid.

        Raises:
            ConfigError: an unknown name, or held-out labelers in training data.
        """
        for name, values, known in (
            ("purpose", (self.purpose,), _PURPOSES),
            ("cohorts", self.cohorts, COHORTS),
            ("splits", self.splits, SPLITS),
            ("prompt-sources", self.prompt_sources, SOURCES),
        ):
            strangers = [value for value in values if value not in known]
            if strangers:
                raise ConfigError(f"--{name}: {strangers[0]!r} is unknown", hint=f"known: {', '.join(known)}")
        if self.purpose == "training" and "heldout" in self.cohorts:
            raise ConfigError("held-out labelers are never a source of training data (spec B3)", hint="use --purpose evaluation")
        if self.purpose == "training" and "test" in self.splits:
            raise ConfigError("prompts of the test split are never training data", hint="use --purpose evaluation")

    def filled(self) -> "Selection":
        """The same with the purpose's defaults written out, as manifests say it."""
        return replace(self, cohorts=self.cohorts or _COHORTS[self.purpose], splits=self.splits or _SPLITS[self.purpose])

    def as_json(self) -> dict[str, Any]:
        """Plain values for manifests and the export table."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self.filled()).items()}

    def rules(self) -> dict[str, str]:
        """The rules in words, for the manifest and the data card."""
        chosen = self.filled()
        return {
            "consent": "prompts of customers need a consent in force"
            f" (scope {' or '.join(_SCOPES[self.purpose])}); a revoked consent takes its prompt out, whatever its source",
            "erasure": "nothing of an erased person or prompt",
            "personal_data": "personal data may be in it" if self.include_pii else f"prompts are {' or '.join(_SAFE)}",
            "labelers": f"cohorts {', '.join(chosen.cohorts)}",
            "splits": f"prompts of the splits {', '.join(chosen.splits)}; the split is a function of the prompt's owner",
            "revisions": "the newest revision of each answer",
            "gold": "answers to gold items included" if self.include_gold else "no answers to gold items, none from the screening",
            "surplus": "surplus answers are in and marked" if self.include_surplus else "no surplus answers",
            "length": f"prompts of at most {TRAINING_LIMIT_TOKENS:,} tokens" if self.purpose == "training" else "prompts of any length",
            "ppo_prompts": f"sources {', '.join(chosen.prompt_sources)}"
            + ("" if self.purpose == "all" else f", at most {PER_OWNER} an owner"),
        }


def prompt_problem(prompt: PromptItem, selection: Selection) -> str | None:
    """Why a prompt may not leave, or None."""
    chosen = selection.filled()
    if prompt.content is None:
        return "erased"
    if prompt.consent is not None and prompt.consent.revoked:
        return "consent_revoked"
    if prompt.consent is None and prompt.source == "api" and selection.purpose != "all":
        return "consent_missing"
    if prompt.consent is not None and prompt.consent.scope not in _SCOPES[selection.purpose]:
        return "consent_of_another_scope"
    if not selection.include_pii and prompt.pii_status not in _SAFE:
        return f"personal_data_{prompt.pii_status}"
    if selection.purpose == "training" and prompt.tokens > TRAINING_LIMIT_TOKENS:
        return "too_long"
    if prompt.split not in chosen.splits:
        return f"split_{prompt.split}"
    return None


def answer_problem(given: Given, selection: Selection) -> str | None:
    """Why an answer may not leave, or None."""
    chosen = selection.filled()
    if given.row.erased_at is not None or given.body.erased or any(output.text is None for output in given.outputs):
        return "erased"
    if given.labeler.cohort not in chosen.cohorts:
        return f"cohort_{given.labeler.cohort}"
    if given.task.gold_id is not None and not selection.include_gold:
        return "gold"
    if given.row.kind == "adjudicate":
        return "adjudication"  # decisions travel with the answers they are about
    if selection.purpose == "training" and (given.queue.evaluation_id is not None or given.guideline.mode == "evaluation"):
        return "evaluation"
    if given.row.surplus and not selection.include_surplus:
        return "surplus"
    return prompt_problem(given.prompt, selection)


def choose(answers: Iterable[Given], selection: Selection) -> tuple[list[Given], Counter[str]]:
    """Answers that may leave, in their order, and how many stay behind for which reason."""
    kept: list[Given] = []
    left: Counter[str] = Counter()
    for given in answers:
        problem = answer_problem(given, selection)
        if problem is None:
            kept.append(given)
        else:
            left[problem] += 1
    return kept, left


def ppo_prompts(prompts: Sequence[PromptItem], selection: Selection) -> list[PromptItem]:
    """Prompts for PPO: of the chosen sources, whether anyone has answered them or not (spec A9); of one owner at most 200 (spec A4)."""
    mine = [prompt for prompt in prompts if prompt.source in selection.prompt_sources and prompt_problem(prompt, selection) is None]
    if selection.purpose == "all":
        return mine
    return at_most_per_owner(mine, lambda prompt: prompt.owner, cap=PER_OWNER, key=lambda prompt: prompt.sha256)
