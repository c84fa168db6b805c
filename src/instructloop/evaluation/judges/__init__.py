"""Language models as voters: both orders asked, position bias measured, every verdict kept (spec G2, labeling of comparisons)."""

from instructloop.evaluation.judges.agreement import agreement_with_people
from instructloop.evaluation.judges.asking import Answer, Ask, Asking, Backend, Question, Reading
from instructloop.evaluation.judges.bias import BothOrders, PositionBias, position_bias
from instructloop.evaluation.judges.build import open_judge
from instructloop.evaluation.judges.endpoint import EndpointJudge
from instructloop.evaluation.judges.journal import JOURNAL_FILE, Journal
from instructloop.evaluation.judges.local import LocalJudge
from instructloop.evaluation.judges.marks import MarkJudge
from instructloop.evaluation.judges.pairs import PairJudge
from instructloop.evaluation.judges.templates import PAIRS, SCORES, Template, read_score, read_template, read_verdict

__all__ = [
    "JOURNAL_FILE",
    "PAIRS",
    "SCORES",
    "Answer",
    "Ask",
    "Asking",
    "Backend",
    "BothOrders",
    "EndpointJudge",
    "Journal",
    "LocalJudge",
    "MarkJudge",
    "PairJudge",
    "PositionBias",
    "Question",
    "Reading",
    "Template",
    "agreement_with_people",
    "open_judge",
    "position_bias",
    "read_score",
    "read_template",
    "read_verdict",
]
