"""Fitted laws of over-optimization as rows of a table."""

import math
from collections.abc import Mapping

from instructloop.evaluation.observatory.document import Cell, Table
from instructloop.stats import LawFit


def fit_table(title: str, fits: Mapping[str, LawFit]) -> Table:
    """A row for each fit: its two numbers, its peak, how good it is, and whether the peak lies within the points."""
    rows: list[list[Cell]] = []
    for name, fit in fits.items():
        peak: Cell = None
        if fit.peak is not None:
            low, high = (bound**2 for bound in fit.peak_bounds) if fit.peak_bounds else (math.nan, math.nan)
            peak = {
                "value": fit.peak.distance**2 if fit.peak.distance < 1e6 else None,
                "low": low if math.isfinite(low) else None,
                "high": high if math.isfinite(high) else None,
                "n": fit.clusters,
            }
        rows.append(
            [
                name,
                fit.points,
                _number(fit.alpha, fit.alpha_bounds, fit.clusters),
                _number(fit.beta, fit.beta_bounds, fit.clusters),
                peak,
                None if fit.peak is None or not math.isfinite(fit.peak.gold) else fit.peak.gold,
                fit.r_squared,
                fit.rmse,
                "yes" if fit.inside else "no",
            ]
        )
    return Table(
        title=title,
        columns=[
            "fitted to",
            "points",
            "alpha",
            "beta",
            "peak at KL (nats)",
            "gain there (sd)",
            "R squared",
            "rmse (sd)",
            "peak within the points",
        ],
        rows=rows,
        note="95 % intervals resample whole prompts; KL is taken as known. An open upper end means that some resamples never fall.",
    )


def _number(value: float, bounds: tuple[float, float] | None, n: int) -> Cell:
    return {"value": value, "low": bounds[0] if bounds else None, "high": bounds[1] if bounds else None, "n": n}
