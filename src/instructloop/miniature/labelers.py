"""The people of the miniature: twelve labelers with tastes and noise, who write demonstrations and rank completions.

A labeler feels the parts of gold with weights of their own (taste), plus noise for every completion looked at, and cannot tell
apart what is close: close completions are tied. The noise is set so that two labelers agree on about 73 % of the pairs that
both rank strictly (the paper: 72.6 +- 1.5 %, spec B4).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from instructloop.core.records import Demonstration, Prompt, Ranking
from instructloop.core.seeds import stream
from instructloop.feedback.simulate.labeler import SimulatedLabeler
from instructloop.feedback.simulate.utility import Candidate
from instructloop.miniature import tasks
from instructloop.miniature.gold import PARTS, GoldScore, gold_utility
from instructloop.miniature.replies import SLIPS, good_reply, slip
from instructloop.miniature.world import World

NOISE = 0.36
"""Standard deviation of a labeler's error, in units of gold utility."""
STEP = 0.15
"""Completions whose felt values fall into one step of this width are tied."""
LONGEST = 9
MOST_WORDS = 24
"""Words beyond which a taste for long answers is satisfied."""


@dataclass(frozen=True, slots=True)
class Labeler:
    """A pseudonymous code, what they care about, and how steady they are."""

    code: str
    taste: Mapping[str, float]
    noise: float

    def feel(self, score: GoldScore) -> float:
        """The weighted sum of the parts, before noise."""
        return sum(self.taste[part] * value for part, value in score.parts.items())


def make_labelers(n: int = 12, seed: int = 0) -> tuple[Labeler, ...]:
    """The pool: tastes between .7 and 1.3 of gold's weights, noise 20 % up or down from :data:`NOISE`."""
    random = stream(seed, "labelers")
    return tuple(
        Labeler(f"L{i:02d}", MappingProxyType({part: random.uniform(0.7, 1.3) for part in PARTS}), NOISE * random.uniform(0.8, 1.2))
        for i in range(1, n + 1)
    )


def prompts(world: World, split: str, n: int, seed: int) -> list[Prompt]:
    """What customers of the bay ask: ``n`` different prompts of one split."""
    return tasks.prompts(world, split, n, seed)


def demonstrations(world: World, n: int, seed: int, split: str = "train") -> list[Demonstration]:
    """``n`` prompts answered by labelers; one reply in four has a human slip (``meta["slip"]``)."""
    people = make_labelers()
    random = stream(seed, "demonstrations", split)
    written = []
    for prompt in tasks.prompts(world, split, n, seed):
        slipped = random.random() < SLIPS
        text = slip(prompt, world, random) if slipped else good_reply(prompt, random)
        written.append(
            Demonstration(
                prompt=prompt.prompt, completion=text, meta={**prompt.meta, "labeler": random.choice(people).code, "slip": slipped}
            )
        )
    return written


def simulated(labeler: Labeler, *, longer: float = 0.0) -> SimulatedLabeler:
    """The same person as the feedback store's simulations know people.

    Args:
        labeler: who.
        longer: a taste for long answers: utility of every word, up to :data:`MOST_WORDS` of them (gold knows nothing of it).
    """

    def utility(prompt: Prompt, candidates: Sequence[Candidate]) -> list[float]:
        return [
            labeler.feel(gold_utility(prompt, candidate.text)) + longer * min(len(candidate.text.split()), MOST_WORDS)
            for candidate in candidates
        ]

    return SimulatedLabeler(code=labeler.code, utility=utility, noise=labeler.noise, tie_width=STEP, key=_name)


def _name(prompt: Prompt, candidates: Sequence[Candidate]) -> str:
    del candidates
    return str(prompt.meta.get("id", prompt.prompt))


def rank(prompt: Prompt, completions: Sequence[str], labeler: Labeler, seed: int) -> Ranking:
    """One labeler's ranking of different completions; the same arguments give the same ranking."""
    person = simulated(labeler)
    felt = person.feel(prompt, [Candidate(text=text) for text in completions], range(len(completions)), seed)
    return Ranking(
        prompt=prompt.prompt,
        completions=tuple(completions),
        ranks=person.ranks(felt),
        labeler=labeler.code,
        confidence=person.confidence(felt),
        meta={key: prompt.meta[key] for key in ("id", "use_case", "template") if key in prompt.meta},
    )


def distinct(completions: Iterable[str]) -> list[str]:
    """Different completions in order of appearance, white space at the ends ignored, empty ones dropped."""
    seen: dict[str, None] = {}
    for text in completions:
        if text.strip():
            seen.setdefault(text.strip())
    return list(seen)
