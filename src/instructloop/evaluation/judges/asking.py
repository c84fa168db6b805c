"""What a judge is asked and what comes back: the same for every kind of question and every kind of model.

An ``Ask`` is one question with the function that reads a value from the answer. ``Asking`` looks it up in the journal, sends what
is missing to a backend, writes each answer down the moment it arrives, and asks again where nothing could be read.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from instructloop.core.errors import JudgeError
from instructloop.core.records import Message
from instructloop.evaluation.judges.journal import Journal

logger = logging.getLogger(__name__)
Value = str | float
_REMINDER = "\n\nYour answer must end with a line of this form and nothing after it: {form}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Ask:
    """One question."""

    key: str
    """Hash of everything the answer depends on; the same key is never asked twice."""
    kind: str
    """``pair`` or ``score``."""
    messages: tuple[Message, ...]
    read: Callable[[str], Value | None]
    """The value that an answer names; None if it names none."""
    form: str
    """How the last line of an answer must look, for the reminder when it did not."""
    lead: str
    """What the last line begins with, e.g. ``Verdict:``; a likelihood is read after it."""
    choices: tuple[str, ...]
    """Every possible continuation of ``lead``."""
    shown: Mapping[str, Any] = field(default_factory=dict)
    """What a reader of the journal needs to find the ask again."""

    def again(self, attempt: int) -> tuple[Message, ...]:
        """The messages of attempt 0, 1, ...: from the second on they end in a reminder of the form."""
        if not attempt:
            return self.messages
        last = self.messages[-1]
        return (*self.messages[:-1], Message(last.role, last.content + _REMINDER.format(form=self.form)))


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """An ask on its way: the messages of this attempt."""

    ask: Ask
    attempt: int

    @property
    def messages(self) -> tuple[Message, ...]:
        """What is sent."""
        return self.ask.again(self.attempt)


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What a backend brought back for one question."""

    question: Question
    text: str = ""
    problem: str = ""
    """Why this question can't be answered, however often it is asked (refused by the endpoint, too long); empty if there is an answer."""
    probabilities: Mapping[str, float] = field(default_factory=dict)
    """Of each choice, where the backend reads likelihoods."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    tries: tuple[Mapping[str, Any], ...] = ()
    """Failed tries before this answer: status, error and the raw body."""


class Backend(Protocol):
    """A model that answers questions."""

    @property
    def name(self) -> str:
        """How it is called in keys, journal and tables."""
        ...

    def answers(self, questions: Sequence[Question]) -> Iterator[Answer]:
        """Answers in the order in which they arrive.

        Raises:
            JudgeError: the model can't be asked any more; every answer that had arrived has been yielded before.
        """
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """What is known about one ask."""

    value: Value | None
    """None: unreadable or failed."""
    text: str = ""
    problem: str = ""
    failed: bool = False
    """Whether the question could not be answered at all."""
    probabilities: Mapping[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class Spent:
    """What asking has cost, this time and before."""

    asked: int = 0
    """Answers that came from the model this time."""
    kept: int = 0
    """Asks that were answered from the journal."""
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def add(self, row: Mapping[str, Any]) -> None:
        """Count one row of the journal."""
        usage = row.get("usage") or {}
        self.prompt_tokens += int(usage.get("prompt_tokens", 0))
        self.completion_tokens += int(usage.get("completion_tokens", 0))

    def cost(self, prompt_price: float, completion_price: float) -> float | None:
        """What all answers in the journal cost at prices of a million tokens; None without prices."""
        if not (prompt_price or completion_price):
            return None
        return (self.prompt_tokens * prompt_price + self.completion_tokens * completion_price) / 1e6


class Asking:
    """Asks a backend, with a journal.

    Args:
        backend: who answers.
        journal: where answers are kept.
        reasks: how often an unreadable answer is asked for again.
    """

    def __init__(self, backend: Backend, journal: Journal, *, reasks: int = 2) -> None:
        self.backend, self.reasks = backend, reasks
        self.spent = Spent()
        self._journal = journal
        self._failed: dict[str, Reading] = {}
        for row in journal.rows():
            self.spent.add(row)

    def ask(self, asks: Sequence[Ask]) -> dict[str, Reading]:
        """A reading for the key of every ask.

        Raises:
            JudgeError: the model can't be asked any more; the message counts what is kept and what is missing.
        """
        wanted = {one.key: one for one in asks}
        self.spent.kept += sum(self._settled(key) for key in wanted)
        for attempt in range(self.reasks + 1):
            due = [Question(ask=one, attempt=attempt) for key, one in wanted.items() if self._due(key, attempt)]
            if due:
                self._send(due, wanted)
        return {key: self._reading(key) for key in wanted}

    def _send(self, due: Sequence[Question], wanted: Mapping[str, Ask]) -> None:
        if due[0].attempt:
            logger.warning("%d answers of the judge name no verdict; they are asked for again", len(due))
        try:
            for answer in self.backend.answers(due):
                self._keep(answer)
        except JudgeError as error:
            settled = sum(self._settled(key) for key in wanted)
            raise JudgeError(
                f"{error.message}; {settled} of {len(wanted)} asks are answered and kept in {self._journal.path}",
                hint=f"{error.hint}; then the same command with --resume asks the missing {len(wanted) - settled} only",
            ) from error

    def _keep(self, answer: Answer) -> None:
        ask = answer.question.ask
        value = None if answer.problem else ask.read(answer.text)
        row = {
            "key": ask.key,
            "kind": ask.kind,
            "judge": self.backend.name,
            "attempt": answer.question.attempt,
            "status": "failed" if answer.problem else "unreadable" if value is None else "read",
            "value": value,
            "text": answer.text,
            "problem": answer.problem or None,
            **({"probabilities": dict(answer.probabilities)} if answer.probabilities else {}),
            "usage": {"prompt_tokens": answer.prompt_tokens, "completion_tokens": answer.completion_tokens},
            "seconds": round(answer.seconds, 3),
            "tries": [dict(one) for one in answer.tries],
            **ask.shown,
            "messages": [{"role": message.role, "content": message.content} for message in answer.question.messages],
        }
        self._journal.append(row)
        self.spent.asked += 1
        self.spent.add(row)
        if answer.problem:
            self._failed[ask.key] = Reading(value=None, problem=answer.problem, failed=True)

    def _settled(self, key: str) -> bool:
        return key in self._failed or self._journal.value(key) is not None or self._journal.attempts(key) > self.reasks

    def _due(self, key: str, attempt: int) -> bool:
        return not self._settled(key) and self._journal.attempts(key) == attempt

    def _reading(self, key: str) -> Reading:
        row = self._journal.last(key)
        if row is None:
            return self._failed[key]
        return Reading(
            value=row["value"], text=row["text"], problem="" if row["value"] is not None else "no verdict in the answer",
            probabilities=row.get("probabilities") or {},
        )  # fmt: skip
