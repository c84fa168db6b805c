"""Wherever a judge is stopped, and wherever its journal is cut, going on gives the same verdicts and asks nothing twice."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instructloop.core.errors import JudgeError
from instructloop.core.records import Prompt
from instructloop.evaluation.judges import JOURNAL_FILE, Answer, Asking, Journal, PairJudge, Question
from instructloop.evaluation.voters import PairVerdict


class Oracle:
    """Prefers the longer answer, stays silent about some, and is gone after so many answers."""

    name = "oracle"

    def __init__(self, dies_after: int, silent_on: frozenset[int]) -> None:
        self.left, self.silent_on, self.asked = dies_after, silent_on, list[tuple[str, int]]()

    def answers(self, questions: Sequence[Question]) -> Iterator[Answer]:
        for question in questions:
            if self.left == 0:
                raise JudgeError("gone", hint="come back")
            self.left -= 1
            self.asked.append((question.ask.key, question.attempt))
            shown = question.ask.shown
            lengths = len(str(shown["first"])), len(str(shown["second"]))
            word = "A" if lengths[0] > lengths[1] else "B" if lengths[1] > lengths[0] else "tie"
            yield Answer(question=question, text="?" if int(str(shown["prompt"])) in self.silent_on else f"Verdict: {word}")


def vote(folder: Path, oracle: Oracle, texts: Sequence[tuple[str, str]]) -> list[PairVerdict]:
    judge = PairJudge(Asking(oracle, Journal(folder / JOURNAL_FILE), reasks=1), samples=100)
    prompts = [Prompt(prompt=str(number)) for number in range(len(texts))]
    return judge.vote(prompts, [one for one, _ in texts], [two for _, two in texts])


texts = st.lists(st.tuples(st.text("ab\n\u2028é", max_size=4), st.text("ab\n\u2028é", max_size=4)), min_size=1, max_size=6)


@given(texts, st.lists(st.integers(0, 5), max_size=4), st.frozensets(st.integers(0, 5), max_size=3), st.floats(0, 1))
@settings(max_examples=30, deadline=None)
def test_stops_and_a_cut_journal_change_no_verdict(
    pairs: list[tuple[str, str]], stops: list[int], silent: frozenset[int], cut: float
) -> None:
    with tempfile.TemporaryDirectory() as name:
        whole = vote(Path(name) / "whole", Oracle(10_000, silent), pairs)
        broken = Path(name) / "broken"
        oracles = [Oracle(stop, silent) for stop in stops]
        for oracle in oracles:
            with suppress(JudgeError):
                vote(broken, oracle, pairs)
        asked = [one for oracle in oracles for one in oracle.asked]
        assert len(asked) == len(set(asked)), "the same question in the same attempt twice"
        last = Oracle(10_000, silent)
        assert vote(broken, last, pairs) == whole
        assert not set(last.asked) & set(asked)
        journal = broken / JOURNAL_FILE
        if journal.exists():
            kept = journal.read_bytes()[: int(cut * journal.stat().st_size)]
            journal.write_bytes(kept)
            again = Oracle(10_000, silent)
            assert vote(broken, again, pairs) == whole
            assert len(again.asked) + kept.count(b"\n") == len(set(asked) | set(last.asked))


def test_an_oracle_that_is_gone_from_the_start_says_so(tmp_path: Path) -> None:
    with pytest.raises(JudgeError, match="0 of 2 asks"):
        vote(tmp_path, Oracle(0, frozenset()), [("a", "bb")])
