"""Numbers with their uncertainty: agreement, win rates, leaderboards, position tests, correlation, cluster bootstrap, planning (no torch)."""

from instructloop.stats.agreement import (
    COHORTS,
    Agreement,
    agreement_without,
    cohort_agreement,
    labeler_agreement,
    pairwise_agreement,
)
from instructloop.stats.baseline import (
    GroupRow,
    HeadToHead,
    PositionBalance,
    by_group,
    head_to_head,
    mcnemar_test,
    position_balance,
    sign_test,
    without_labeler,
)
from instructloop.stats.best_of_n import winning_chances
from instructloop.stats.bootstrap import Interval, cluster_bootstrap, mean_interval
from instructloop.stats.bradley_terry import Votes, votes
from instructloop.stats.calibration import Bin, Calibration, calibration
from instructloop.stats.concordance import Concordance, kendall_w, mean_kendall_w, mean_tau_b, tau_b
from instructloop.stats.correlation import kendall_tau_b, pearson, spearman
from instructloop.stats.holm import holm
from instructloop.stats.kappa import cohen_kappa, fleiss_kappa, gwet_ac1, krippendorff_alpha
from instructloop.stats.leaderboard import Flip, Leaderboard, Standing, leaderboard, strength_difference, votes_to_flip
from instructloop.stats.length_control import LengthControlled, length_controlled
from instructloop.stats.overoptimization import (
    LawFit,
    Peak,
    TopPoint,
    best_of_n_gold,
    best_of_n_peak,
    fit_law,
    highest_point,
    rl_gold,
    rl_peak,
)
from instructloop.stats.plackett_luce import Davidson, davidson, plackett_luce
from instructloop.stats.planner import (
    design_effect,
    half_width,
    intra_cluster_correlation,
    power,
    prompts_for_half_width,
    prompts_for_power,
)
from instructloop.stats.position import Drift, SameOrder, SideTest, SlotTest, drift, same_order, side_test, slot_test, tie_rates
from instructloop.stats.reliability import Ratings, Reliability, Resampling, ratings
from instructloop.stats.two_way import two_way_interval
from instructloop.stats.winrate import WeightedRecord, outcome, preference_rate, rate, rate_interval, weighted_record, wilson, win_rate

__all__ = [
    "COHORTS",
    "Agreement",
    "Bin",
    "Calibration",
    "Concordance",
    "Davidson",
    "Drift",
    "Flip",
    "GroupRow",
    "HeadToHead",
    "Interval",
    "LawFit",
    "Leaderboard",
    "LengthControlled",
    "Peak",
    "PositionBalance",
    "Ratings",
    "Reliability",
    "Resampling",
    "SameOrder",
    "SideTest",
    "SlotTest",
    "Standing",
    "TopPoint",
    "Votes",
    "WeightedRecord",
    "agreement_without",
    "best_of_n_gold",
    "best_of_n_peak",
    "by_group",
    "calibration",
    "cluster_bootstrap",
    "cohen_kappa",
    "cohort_agreement",
    "davidson",
    "design_effect",
    "drift",
    "fit_law",
    "fleiss_kappa",
    "gwet_ac1",
    "half_width",
    "head_to_head",
    "highest_point",
    "holm",
    "intra_cluster_correlation",
    "kendall_tau_b",
    "kendall_w",
    "krippendorff_alpha",
    "labeler_agreement",
    "leaderboard",
    "length_controlled",
    "mcnemar_test",
    "mean_interval",
    "mean_kendall_w",
    "mean_tau_b",
    "outcome",
    "pairwise_agreement",
    "pearson",
    "plackett_luce",
    "position_balance",
    "power",
    "preference_rate",
    "prompts_for_half_width",
    "prompts_for_power",
    "rate",
    "rate_interval",
    "ratings",
    "rl_gold",
    "rl_peak",
    "same_order",
    "side_test",
    "sign_test",
    "slot_test",
    "spearman",
    "strength_difference",
    "tau_b",
    "tie_rates",
    "two_way_interval",
    "votes",
    "votes_to_flip",
    "weighted_record",
    "wilson",
    "win_rate",
    "winning_chances",
    "without_labeler",
]
