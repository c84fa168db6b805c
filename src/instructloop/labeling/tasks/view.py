"""What a task page shows, put together from the store's view of a task: letters instead of slots, no name of any model."""

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from instructloop import __version__
from instructloop.core.records import PromptContent
from instructloop.feedback import preferences
from instructloop.feedback.answers import Answer, RatingAnswer
from instructloop.feedback.flags import FLAGS, FlagField
from instructloop.feedback.schema import Labeler
from instructloop.feedback.views import TaskView
from instructloop.labeling.tasks.forms import LETTERS, Asked, fill

UI_VERSION: Final = f"web-{__version__}"
NAMES: Final = {
    "demonstration": "Write a demonstration",
    "edit": "Improve an output",
    "critique": "Critique outputs",
    "rank": "Rank outputs",
    "rate": "Rate outputs",
    "rate_and_rank": "Rate and rank outputs",
    "pairwise": "Compare two outputs",
    "instruction": "Label an instruction",
    "toxicity": "Judge toxicity",
    "adjudicate": "Decide a disagreement",
}
TEMPLATES: Final = {kind: f"tasks/{kind}.html" for kind in NAMES} | {
    "edit": "tasks/demonstration.html",
    "rate_and_rank": "tasks/rate.html",
}
SKIP_REASONS: Final = (
    ("off_topic", "Off topic"),
    ("pii", "Holds personal information"),
    ("cannot_judge", "I can't judge this well"),
    ("uncomfortable", "It makes me uncomfortable"),
    ("too_long", "Too long"),
    ("broken", "Broken or unreadable"),
    ("done_before", "I have done it before"),
    ("other", "Another reason"),
)
CATEGORY_NAMES: Final = {
    "sexual": "sexual content",
    "violent": "violence",
    "abuse": "abuse or self-harm",
    "denigration": "denigration of people",
}
COMMAND_NAMES: Final = {
    "undo": "Undo the last choice",
    "skip": "Skip, with a reason",
    "guidelines": "Guidelines",
    "diff": "Compare two outputs",
    "flags": "Flags: then the letter beside the flag",
    "rest_no": "Answer “no” to the flags still open",
    "next": "Next output or step",
    "previous": "Output or step before",
    "tie": "Tie (with the output ranked before)",
    "both_bad": "Both bad",
    "clear": "Take the rank away",
    "help": "List of keys",
}
OPTION_NAMES: Final = {"yes": "Yes", "no": "No", "na": "N/A"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    """One output as it is shown."""

    letter: str
    text: str

    @property
    def words(self) -> str:
        """Its length, to judge before reading."""
        n = len(self.text.split())
        return f"{n:,} word{'' if n == 1 else 's'}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """One turn of the instruction."""

    role: str
    text: str
    label: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """One labeler's answer in an adjudication, without who gave it."""

    lines: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class GuidelineLink:
    """The guidelines a task is answered under."""

    name: str
    version: int
    title: str
    changed: bool

    @property
    def url(self) -> str:
        """Their page."""
        return f"/guidelines/{self.name}/{self.version}"


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskPage:
    """Everything the templates of a task read, besides the values of the fields."""

    assignment: str
    kind: str
    turns: tuple[Turn, ...]
    cards: tuple[Card, ...]
    guideline: GuidelineLink
    idem_key: str
    action: str
    editing: bool
    now: int
    expires: int
    draft_rev: int
    active_ms: int
    wall_ms: int
    prompt_flags: tuple[FlagField, ...]
    output_flags: tuple[FlagField, ...]
    known_flags: Mapping[str, str]
    keys: Mapping[str, str]
    single_keys: bool
    sensitive: bool
    sensitive_why: str
    covered: bool
    language: str | None
    ask_confidence: bool
    ask_strength: bool
    context: tuple[tuple[str, str], ...] = ()
    """Further fields of the prompt that may be shown: (name, text)."""
    answers: tuple[Column, ...] = ()

    @property
    def ui_version(self) -> str:
        """Kept with every answer."""
        return UI_VERSION

    @property
    def k(self) -> int:
        """Number of outputs."""
        return len(self.cards)

    @property
    def heading(self) -> str:
        """What is to be done."""
        return NAMES[self.kind]

    @property
    def title(self) -> str:
        """The page's title; no text of a model ever stands in it."""
        return f"{NAMES[self.kind]}, editing" if self.editing else NAMES[self.kind]

    @property
    def base_url(self) -> str:
        """Address that draft, heartbeat, skip and release hang on."""
        return f"/task/{self.assignment}"

    @property
    def expires_iso(self) -> str:
        """End of the lease for machines."""
        return datetime.fromtimestamp(self.expires / 1000, UTC).isoformat(timespec="seconds")

    @property
    def expires_text(self) -> str:
        """End of the lease where no module turns it into local time."""
        return datetime.fromtimestamp(self.expires / 1000, UTC).strftime("%H:%M UTC")


def turns_of(prompt: PromptContent) -> tuple[Turn, ...]:
    """The instruction turn by turn; a plain text is one turn without a role."""
    if isinstance(prompt, str):
        return (Turn(role="", text=prompt, label="Instruction"),)
    names = {"system": "System", "user": "User", "assistant": "Assistant"}
    return tuple(
        Turn(role=names[message.role], text=message.content, label=f"Instruction, turn {place}, {names[message.role].lower()}")
        for place, message in enumerate(prompt, start=1)
    )


def cards_of(completions: Sequence[str]) -> tuple[Card, ...]:
    """Letters for outputs that are already in the order shown."""
    return tuple(Card(letter=letter, text=text) for letter, text in zip(LETTERS, completions, strict=False))


def flag_labels() -> dict[str, str]:
    """Name of every field, for "only if ...: yes" where no module hides fields."""
    return {key: flag.label for key, flag in FLAGS.items()}


def option_labels(options: Sequence[str]) -> list[tuple[str, str, str]]:
    """(value, shown, title) of a field's options."""
    return [(value, OPTION_NAMES.get(value, value.replace("_", " ")), "") for value in options]


def changes(before: str, after: str) -> list[tuple[str, str]]:
    """Lines of a guideline that differ: ("del" | "ins", line)."""
    lines = difflib.ndiff([line for line in before.splitlines() if line.strip()], [line for line in after.splitlines() if line.strip()])
    return [({"-": "del", "+": "ins"}[line[0]], line[2:]) for line in lines if line[0] in "+-"]


def asked_of(task: TaskView, answers: Sequence[str] = ()) -> Asked:
    """What the page of a task asks; ``answers`` are the submissions behind the columns of an adjudication."""
    return Asked(
        order=task.lease.display_order,
        prompt_flags=task.prompt_fields,
        output_flags=task.completion_fields,
        known_prompt_flags=task.prompt_flags,
        answers=tuple(answers),
    )


def page_of(task: TaskView, labeler: Labeler, columns: Sequence[Column], *, now: int) -> TaskPage:
    """The page of a task.

    Args:
        task: the store's view of it.
        labeler: whose preferences hold.
        columns: the answers to decide between, for an adjudication.
        now: the server's time, UTC ms; the page tells time by it.
    """
    wishes = preferences.of(labeler)
    sensitive = [CATEGORY_NAMES.get(category, category) for category in task.sensitive]
    marked = bool(sensitive) or bool(task.queue_settings.get("sensitive", False))
    guideline = task.guideline
    return TaskPage(
        assignment=task.lease.assignment_id,
        kind=task.lease.kind,
        turns=turns_of(task.prompt),
        cards=cards_of(task.completions),
        guideline=GuidelineLink(
            name=guideline.name,
            version=guideline.version,
            title=guideline.title,
            changed=preferences.seen_guideline(labeler, guideline.name) not in {None, guideline.version},
        ),
        idem_key=task.lease.idem_key,
        action=f"/submission/{task.submission_id}/edit" if task.editing else f"/task/{task.lease.assignment_id}",
        editing=task.editing,
        now=now,
        expires=task.lease.expires_at,
        draft_rev=task.draft_rev,
        active_ms=0 if task.editing else task.active_ms,
        wall_ms=0 if task.editing else task.wall_ms,
        prompt_flags=task.prompt_fields,
        output_flags=task.completion_fields,
        known_flags={key: value for key, value in task.prompt_flags.items() if key in FLAGS} if not task.prompt_fields else {},
        keys=preferences.keys_of(labeler),
        single_keys=wishes.single_keys,
        sensitive=marked,
        sensitive_why=", ".join(sensitive),
        covered=marked and wishes.blur,
        language=_language(task),
        ask_confidence=bool(task.queue_settings.get("ask_confidence", False)),
        ask_strength=bool(task.queue_settings.get("ask_strength", True)),
        context=tuple(
            (key.replace("_", " "), str(value)) for key, value in task.prompt_meta_allowed.items() if key != "language" and value
        ),
        answers=tuple(columns),
    )


def _language(task: TaskView) -> str | None:
    """The language of the texts, if it is known and looks like a tag; it becomes the attribute ``lang``."""
    language = str(task.prompt_meta_allowed.get("language") or "")
    return language if re.fullmatch(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*", language) else None


def values_of(task: TaskView, asked: Asked) -> dict[str, str]:
    """What the fields hold when the page opens: the draft, else (editing) the answer as it was given, else nothing."""
    if task.draft:
        return {str(name): str(value) for name, value in task.draft.items()}
    if task.previous is None:
        return {}
    values = fill(task.previous, asked)
    if task.confidence is not None:
        values["confidence"] = str(task.confidence)
    if task.comment:
        values["comment"] = task.comment
    return values


def contradictions(answer: Answer, asked: Asked) -> list[str]:
    """Where ratings and ranking order two outputs in opposite ways, by the letters shown. Said after the fact, never refused."""
    if not isinstance(answer, RatingAnswer) or answer.ranking is None:
        return []
    ranks, letters = answer.ranking.ranks, dict(zip(asked.order, asked.letters, strict=True))
    found = []
    for one in asked.order:
        for other in asked.order:
            a, b = ranks[one], ranks[other]
            rated = answer.outputs[one].overall, answer.outputs[other].overall
            if a is not None and b is not None and a < b and rated[0] < rated[1]:
                found.append(
                    f"In the answer before this, {letters[one]} (rated {rated[0]}) is ranked above {letters[other]} (rated {rated[1]})."
                )
    return found
