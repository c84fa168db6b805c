"""Do reward models that agreed on the reference's answers still agree on the policy's? (spec I14: ensemble variance).

Members' scores are standardized by their own mean and spread over the reference's answers; disagreement is their standard deviation on
one answer. A policy that has left the region which the rankings cover is scored by extrapolation, and members extrapolate differently.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from instructloop.evaluation.observatory import answers as of
from instructloop.evaluation.observatory.alarms import KINDS, Alarm, State, raised
from instructloop.evaluation.observatory.answers import Answer, Look
from instructloop.evaluation.observatory.document import Cell, Chart, Findings, Section, Series, Table, estimate
from instructloop.stats import mean_interval, pearson

NAME = "ensemble"


def member_scores(answers: Sequence[Answer]) -> NDArray[np.float64]:
    """``[answers, members]``: the proxy first, then the held-out judges."""
    return np.array([[answer.proxy, *answer.held_out] for answer in answers], dtype=np.float64)


def disagreement(answers: Sequence[Answer], reference: Sequence[Answer]) -> NDArray[np.float64]:
    """Standard deviation between members on each answer, in standard deviations of a member's scores on the reference."""
    base = member_scores(reference)
    scale = base.std(axis=0)
    standard = (member_scores(answers) - base.mean(axis=0)) / np.where(scale > 0, scale, 1.0)
    found: NDArray[np.float64] = standard.std(axis=1, ddof=1)
    return found


def ensemble(policy: Sequence[Answer], reference: Sequence[Answer], looks: Sequence[Look] = ()) -> Findings:
    """Disagreement on the policy's answers against the reference's.

    Args:
        policy: scored answers of the policy.
        reference: scored answers of the reference.
        looks: the policy at several steps, the reference first.
    """
    if (
        not policy
        or not reference
        or not min(of.judges(policy), of.judges(reference))
        or any(answer.proxy is None for answer in (*policy, *reference))
    ):
        return Findings(
            alarms=(raised("disagreement", None, explanation="Needs a second reward model: --ensemble RM, or ppo.watch.reward_models."),)
        )
    before, after = disagreement(reference, reference), disagreement(policy, reference)
    low = mean_interval(before, [answer.key for answer in reference], samples=1000)
    high = mean_interval(after, [answer.key for answer in policy], samples=1000)
    charts = []
    seen = [look for look in looks if look.kl is not None and of.judges(look.answers)]
    if len(seen) > 2:
        points = []
        for look in seen:
            found = mean_interval(disagreement(look.answers, seen[0].answers), [answer.key for answer in look.answers], samples=500)
            points.append([look.kl or 0.0, found.value, found.low, found.high])
        charts.append(
            Chart(
                title="Disagreement as KL grows",
                x_label="KL from the reference (nats)",
                y_label="sd between members",
                series=[Series(name="mean over answers", points=sorted(points))],
            )
        )
    order = np.argsort(-after)
    table = Table(
        title="Standard deviation between members on one answer",
        columns=["answers of", "disagreement (sd)", "correlation of the first two members"],
        rows=[
            ["reference", estimate(low), _agreement(reference)],
            ["policy", estimate(high), _agreement(policy)],
        ],
        note="Members' scores are standardized over the reference's answers; intervals resample prompts.",
    )
    samples = [of.shown(policy[place], note=f"members disagree by {after[place]:.2f} sd: {_told(policy[place])}") for place in order[:5]]
    section = Section(
        name=NAME,
        title="Disagreement of reward models",
        text=f"{of.judges(policy) + 1} reward models on the same answers. They disagree by {low.value:.2f} sd on the reference's and by {high.value:.2f} sd on the policy's.",
        charts=charts,
        tables=[table],
        samples=samples,
    )
    return Findings(sections=(section,), alarms=(_alarm(low.value, high.low, high.value, samples),))


def _alarm(before: float, low: float, after: float, samples: Sequence[dict[str, object]]) -> Alarm:
    """Rings where even the interval's lower end is beyond the threshold; warns where the estimate is."""
    if before <= 0:
        return raised("disagreement", None, explanation="The members say the same of every answer of the reference.")
    limit = KINDS["disagreement"].threshold or 0.0
    ratio = after / before
    state: State = "alarm" if low / before > limit else "warning" if ratio > limit else "ok"
    return raised("disagreement", ratio, state=state, examples=samples)


def _agreement(answers: Sequence[Answer]) -> Cell:
    scores = member_scores(answers)
    return pearson(scores[:, 0], scores[:, 1])


def _told(answer: Answer) -> str:
    return ", ".join(f"{score:.2f}" for score in (answer.proxy or 0.0, *answer.held_out))
