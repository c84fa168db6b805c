"""Comparisons of models on held-out prompts, held capabilities, reward against KL. Never imports ``training``."""

from instructloop.evaluation.ballots import Ballot
from instructloop.evaluation.capabilities import Probe, capabilities, lm_loss, sequence_kl
from instructloop.evaluation.comparison import compare, compare_pairs, compare_votes, judge_rows, pair_verdicts, tabulate, tabulate_pairs
from instructloop.evaluation.evaluate import Evaluation, evaluate
from instructloop.evaluation.frontier import reward_against_kl, reward_per_sqrt_kl
from instructloop.evaluation.run import run_evaluation, write_tables
from instructloop.evaluation.sampling import Candidate, Subject, opened, sample_models
from instructloop.evaluation.voters import AnyVoter, Judge, Judged, PairVerdict, PairVoter, ReportingVoter, RewardModelVoter, Voter
from instructloop.evaluation.votes import Vote, read_votes
from instructloop.scoring.diversity import distinct_n

__all__ = [
    "AnyVoter",
    "Ballot",
    "Candidate",
    "Evaluation",
    "Judge",
    "Judged",
    "PairVerdict",
    "PairVoter",
    "Probe",
    "ReportingVoter",
    "RewardModelVoter",
    "Subject",
    "Vote",
    "Voter",
    "capabilities",
    "compare",
    "compare_pairs",
    "compare_votes",
    "distinct_n",
    "evaluate",
    "judge_rows",
    "lm_loss",
    "opened",
    "pair_verdicts",
    "read_votes",
    "reward_against_kl",
    "reward_per_sqrt_kl",
    "run_evaluation",
    "sample_models",
    "sequence_kl",
    "tabulate",
    "tabulate_pairs",
    "write_tables",
]
