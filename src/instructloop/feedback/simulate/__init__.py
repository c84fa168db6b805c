"""Simulated labelers: a pool with a stated utility, noise, ties, biases and habits, who answer through the store like people do."""

from instructloop.feedback.simulate.calibrate import PAPER_AGREEMENT, Calibration, Group, calibrate_noise
from instructloop.feedback.simulate.labeler import Habits, SimulatedLabeler
from instructloop.feedback.simulate.pool import Pool, make_pool
from instructloop.feedback.simulate.utility import Candidate, Utility, utility_of

__all__ = [
    "PAPER_AGREEMENT",
    "Calibration",
    "Candidate",
    "Group",
    "Habits",
    "Pool",
    "SimulatedLabeler",
    "Utility",
    "calibrate_noise",
    "make_pool",
    "utility_of",
]
