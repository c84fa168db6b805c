"""Comparisons of models on held-out prompts, held capabilities, reward against KL. Never imports ``training``."""

from instructloop.evaluation.capabilities import Probe, capabilities, lm_loss, sequence_kl
from instructloop.evaluation.comparison import compare, compare_votes, judge_rows, tabulate
from instructloop.evaluation.evaluate import Evaluation, evaluate
from instructloop.evaluation.frontier import reward_against_kl, reward_per_sqrt_kl
from instructloop.evaluation.run import run_evaluation, write_tables
from instructloop.evaluation.sampling import Candidate, Subject, opened, sample_models
from instructloop.evaluation.voters import AnyVoter, Judge, Judged, RewardModelVoter, Voter
from instructloop.evaluation.votes import Vote, read_votes
from instructloop.scoring.diversity import distinct_n

__all__ = [
    "AnyVoter",
    "Candidate",
    "Evaluation",
    "Judge",
    "Judged",
    "Probe",
    "RewardModelVoter",
    "Subject",
    "Vote",
    "Voter",
    "capabilities",
    "compare",
    "compare_votes",
    "distinct_n",
    "evaluate",
    "judge_rows",
    "lm_loss",
    "opened",
    "read_votes",
    "reward_against_kl",
    "reward_per_sqrt_kl",
    "run_evaluation",
    "sample_models",
    "sequence_kl",
    "tabulate",
    "write_tables",
]
