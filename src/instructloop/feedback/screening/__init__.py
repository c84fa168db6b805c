"""The paper's screening of labelers in four parts (spec B2), the training items before it, and who decides in the end."""

from instructloop.feedback.screening.attempts import (
    Attempt,
    attempts_of,
    finish,
    grant_attempt,
    missing_answers,
    override,
    passed_parts,
    start_attempt,
)
from instructloop.feedback.screening.parts import (
    DEFAULT_CUTOFFS,
    Item,
    Part,
    Rules,
    active_parts,
    create_test,
    ensure_tests,
    export_items,
    import_items,
    part,
    rules,
    set_cutoff,
    set_rules,
)
from instructloop.feedback.screening.scoring import Scored, score_items
from instructloop.feedback.screening.writing import Unrated, next_to_rate, rate_demonstration, waiting_to_rate

__all__ = [
    "DEFAULT_CUTOFFS",
    "Attempt",
    "Item",
    "Part",
    "Rules",
    "Scored",
    "Unrated",
    "active_parts",
    "attempts_of",
    "create_test",
    "ensure_tests",
    "export_items",
    "finish",
    "grant_attempt",
    "import_items",
    "missing_answers",
    "next_to_rate",
    "override",
    "part",
    "passed_parts",
    "rate_demonstration",
    "rules",
    "score_items",
    "set_cutoff",
    "set_rules",
    "start_attempt",
    "waiting_to_rate",
]
