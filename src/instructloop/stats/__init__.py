"""Numbers with their uncertainty: cluster bootstrap, win rates, agreement, correlation (no torch)."""

from instructloop.stats.agreement import Agreement, pairwise_agreement
from instructloop.stats.bootstrap import Interval, cluster_bootstrap, mean_interval
from instructloop.stats.correlation import kendall_tau_b, pearson, spearman
from instructloop.stats.overoptimization import Peak, best_of_n_gold, best_of_n_peak, rl_gold, rl_peak
from instructloop.stats.winrate import outcome, rate, wilson, win_rate

__all__ = [
    "Agreement",
    "Interval",
    "Peak",
    "best_of_n_gold",
    "best_of_n_peak",
    "cluster_bootstrap",
    "kendall_tau_b",
    "mean_interval",
    "outcome",
    "pairwise_agreement",
    "pearson",
    "rate",
    "rl_gold",
    "rl_peak",
    "spearman",
    "wilson",
    "win_rate",
]
