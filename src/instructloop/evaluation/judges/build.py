"""A judge from its configuration."""

from pathlib import Path

from instructloop.config import ComputeConfig
from instructloop.config.judge import JudgeConfig
from instructloop.core.errors import ConfigError
from instructloop.core.hashing import hash_tree
from instructloop.evaluation.judges.asking import Asking, Backend
from instructloop.evaluation.judges.endpoint import EndpointJudge
from instructloop.evaluation.judges.journal import JOURNAL_FILE, Journal
from instructloop.evaluation.judges.local import LocalJudge
from instructloop.evaluation.judges.marks import MarkJudge
from instructloop.evaluation.judges.pairs import PairJudge
from instructloop.evaluation.judges.templates import PAIRS, SCORES, read_template
from instructloop.runs import resolve_model


def open_judge(
    cfg: JudgeConfig,
    folder: str | Path,
    *,
    accept_biased: bool = False,
    compute: ComputeConfig | None = None,
    samples: int = 2000,
    seed: int = 0,
) -> PairJudge | MarkJudge:
    """The judge that a configuration names, with its journal in a folder.

    Args:
        cfg: whom to ask, and how.
        folder: where ``judgements.jsonl`` is kept; answers that are there already are not asked for again.
        accept_biased: let the verdicts of a position-biased judge count.
        compute: device and precision of a local judge.
        samples: resamples behind each interval.
        seed: base of resampling and of a local judge's sampling.

    Raises:
        ConfigError: no judge is named, the key's variable is empty, or the template can't be used.
    """
    if not cfg.wanted:
        raise ConfigError("no judge is named", hint="--judge.url http://HOST:PORT/v1 --judge.model NAME, or --judge.path DIRECTORY")
    kind = "pair" if cfg.mode == "pairs" else "score"
    template = read_template(cfg.template, kind) if cfg.template else PAIRS if kind == "pair" else SCORES
    backend: Backend = EndpointJudge(cfg) if cfg.url else LocalJudge(cfg, compute, seed=seed)
    asking = Asking(backend, Journal(Path(folder) / JOURNAL_FILE), reasks=cfg.reasks)
    settings = {name: value for name, value in cfg.identity().items() if name not in {"template", "path", "mode"}}
    if cfg.path and (place := resolve_model(cfg.path)).exists():
        settings["weights"] = hash_tree(place)
    if isinstance(backend, EndpointJudge):
        settings.pop("reading")
    prices = (cfg.price_prompt, cfg.price_completion)
    if kind == "score":
        return MarkJudge(asking, settings=settings, template=template, prices=prices)
    return PairJudge(
        asking,
        settings=settings,
        template=template,
        position_margin=cfg.position_margin,
        consistency_min=cfg.consistency_min,
        accept_biased=accept_biased,
        prices=prices,
        samples=samples,
        seed=seed,
    )
