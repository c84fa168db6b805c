"""Public test sets as the paper ran them (spec G4-G9): frames, zero- and few-shot prompts, one table for many checkpoints."""

from instructloop.evaluation.suites.asking import Answered, ask
from instructloop.evaluation.suites.catalogue import GROUPS, SUITES, chosen
from instructloop.evaluation.suites.items import Loaded, load, load_all
from instructloop.evaluation.suites.judges import Judges
from instructloop.evaluation.suites.likelihood import Scored, sequence_logprobs
from instructloop.evaluation.suites.run import run_suites
from instructloop.evaluation.suites.suite import Metric, Suite, Variant
from instructloop.evaluation.suites.table import build_table

__all__ = [
    "GROUPS",
    "SUITES",
    "Answered",
    "Judges",
    "Loaded",
    "Metric",
    "Scored",
    "Suite",
    "Variant",
    "ask",
    "build_table",
    "chosen",
    "load",
    "load_all",
    "run_suites",
    "sequence_logprobs",
]
