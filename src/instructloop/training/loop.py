"""What every trainer does around its steps: take up a stopped run, commit its state, keep the clock, cut a batch into micro-batches."""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch

from instructloop.config.shared import CheckpointConfig
from instructloop.core.files import read_jsonl
from instructloop.core.seeds import derive
from instructloop.data.batching import micro_batches
from instructloop.data.sequences import TokenBatch, TokenSequence, collate
from instructloop.models.ranks import ALONE, Ranks
from instructloop.models.state import Stateful, load_state, save_state
from instructloop.runs.checkpoints import SavedState
from instructloop.runs.lineage import Parent
from instructloop.runs.rundir import RunDir

logger = logging.getLogger(__name__)


class TrainState(NamedTuple):
    """What a checkpoint holds besides its step number; data order and random streams are functions of (seed, step)."""

    modules: Mapping[str, Stateful]
    optimizers: Mapping[str, Stateful]


def open_run(out: Path, *, ranks: Ranks, stage: str, config: Mapping[str, Any], parents: Sequence[Parent] = (), resume: bool) -> RunDir:
    """The stage's run directory: the main process opens and writes it, the others follow; an error on opening is raised on all."""
    run: list[RunDir] = []

    def open_it() -> SavedState | None:
        run.append(RunDir.open(out, stage=stage, config=config, parents=parents, resume=resume))
        return run[0].latest()

    start = ranks.by_main(open_it)
    return run[0] if run else RunDir.follow(out, stage=stage, start=start)


def resume_state(run: RunDir, state: TrainState) -> tuple[int, dict[str, Any]]:
    """Restore the newest committed state; returns completed steps and the plain values saved with it, (0, {}) for a fresh run."""
    saved = run.latest()
    if saved is None:
        return 0, {}
    extra = load_state(saved.path, modules=state.modules, optimizers=state.optimizers)
    logger.info("taken up at step %d from %s", saved.step, saved.path)
    return saved.step, extra


def commit_state(
    run: RunDir,
    step: int,
    total_steps: int,
    cfg: CheckpointConfig,
    state: TrainState,
    *,
    extra: Mapping[str, Any] | None = None,
    best: bool = False,
    ranks: Ranks = ALONE,
) -> None:
    """Save the state after ``step`` steps if it is due: every ``every_steps``, at the end, and when it is the best so far."""
    if best or step == total_steps or step % cfg.every_steps == 0:

        def save(path: Path) -> None:
            save_state(path, modules=state.modules, optimizers=state.optimizers, extra=extra or {}, ranks=ranks)

        run.checkpoint(step, save, keep=cfg.keep, best=best)


class StepClock:
    """Wall-clock times into ``timings.jsonl`` and about twenty lines of progress into the log."""

    def __init__(self, run: RunDir, stage: str, total_steps: int) -> None:
        self.run = run
        self.stage = stage
        self.total_steps = total_steps
        self._every = max(1, total_steps // 20)
        self._last = time.perf_counter()
        self._told = False

    def tick(self, step: int, tokens: int, metrics: Mapping[str, float], *, flops: float = 0.0) -> None:
        """The step that just ended saw ``tokens`` real tokens and took ``flops`` operations; ``metrics`` are shown in the log."""
        now = time.perf_counter()
        seconds, self._last = now - self._last, now
        spent = {"seconds": seconds, "tokens_per_s": tokens / max(seconds, 1e-9), "tokens": tokens, "flops": flops}
        self.run.timing(step, {f"{self.stage}/{name}": value for name, value in spent.items()})
        if self.run.follows:
            return
        if step % self._every == 0 or step == self.total_steps or not self._told:  # the first step too: a run soon shows that it runs
            self._told = True
            shown = "  ".join(f"{name} {value:.4g}" for name, value in metrics.items())
            logger.info("%s step %d/%d  %s  %.0f tokens/s", self.stage, step, self.total_steps, shown, tokens / max(seconds, 1e-9))


def spent(run: RunDir) -> dict[str, float]:
    """``tokens`` and ``flops`` of all steps of a run, from its clock's file: a resumed run has those of the steps before the stop too."""
    file = run.path / "timings.jsonl"
    totals = {"tokens": 0.0, "flops": 0.0}
    for row in read_jsonl(file, drop_torn_tail=True) if file.is_file() else ():
        for name in totals:
            totals[name] += float(row.get(f"{run.stage}/{name}", 0.0))
    return {"tokens": round(totals["tokens"]), "flops": totals["flops"]}


def token_batches(sequences: Sequence[TokenSequence], pad_id: int, budget_tokens: int) -> Iterator[tuple[list[int], TokenBatch]]:
    """The rows of one batch as right-padded micro-batches of at most ``budget_tokens``, with the indices they came from."""
    for rows in micro_batches([len(sequence) for sequence in sequences], budget_tokens):
        yield rows, collate([sequences[row] for row in rows], pad_id)


@contextmanager
def dropout_stream(seed: int, step: int, *, ranks: Ranks = ALONE) -> Iterator[None]:
    """Inside, dropout draws from a stream that is a pure function of (seed, step), so a resumed run repeats it.

    Each of several processes has its own: their rows are different ones.

    NOTE: dropout reads torch's global generators and takes no argument, so they are forked, seeded and afterwards put back.
    """
    with torch.random.fork_rng():
        torch.manual_seed(derive(seed, "dropout", step, *([ranks.index] if ranks.size > 1 else [])))
        yield
