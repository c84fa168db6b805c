"""The card that travels with a published model, from the run that is about to publish it."""

from collections.abc import Mapping
from typing import Any

from instructloop.runs.card import as_markdown, model_card
from instructloop.runs.rundir import RunDir
from instructloop.training.loop import spent


def card_of(run: RunDir, result: Mapping[str, Any], *, weights: str = "", note: str = "") -> str:
    """Markdown of the run's model card; what evaluations say is added later (``instructloop card``).

    Args:
        run: the run, its ``result.json`` not yet written.
        result: what will stand there.
        weights: which weights these are, where a run publishes several.
        note: what a user must know to load them.
    """
    return as_markdown(model_card(run.path, result={**result, **spent(run)}, weights=weights, note=note))
