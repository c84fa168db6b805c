"""Configuration of a language model that judges answers: an OpenAI-compatible endpoint, or a local model."""

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

from instructloop.config.shared import require

_MAY_CHANGE = frozenset(
    {
        "url", "key_env", "timeout_s", "retries", "backoff_s", "longest_wait_s", "workers", "price_prompt", "price_completion",
        "reasks", "position_margin", "consistency_min",
    }
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class JudgeConfig:
    """Who judges and how it is asked. Give ``url`` and ``model`` (an endpoint), or ``path`` (a local model); neither: no judge."""

    url: str = ""
    """Base of an OpenAI-compatible endpoint, e.g. ``http://localhost:8000/v1``."""
    model: str = ""
    """Name of the model at the endpoint."""
    key_env: str = ""
    """Name of the environment variable that holds the endpoint's key; the key itself is never written anywhere."""
    path: str = ""
    """Local model directory, run directory or hub name, instead of ``url``."""
    reading: Literal["likelihood", "generation"] = "likelihood"
    """Local model: the verdict is the likeliest of the possible ones, or read from what the model writes."""
    mode: Literal["pairs", "score"] = "pairs"
    """``pairs`` compares two answers, in both orders; ``score`` gives each answer a mark from 1 to 7."""
    template: str = ""
    """File with the judge's instructions, instead of ours: TOML with ``system`` and ``user``, or plain text (docs/how-to/judge.md)."""
    temperature: float = 0.0
    """Of the judge's sampling; 0 asks for its likeliest answer."""
    max_tokens: int = 512
    """Longest answer of the judge in tokens."""
    body: str = ""
    """JSON object merged into each request, e.g. ``{"max_tokens": null, "max_completion_tokens": 2000}``; null removes a field."""
    reasks: int = 2
    """How often an answer without a readable verdict is asked for again before it counts as unreadable."""
    timeout_s: float = 60.0
    """Seconds that one request may take."""
    retries: int = 4
    """Further tries after a time-out, a broken connection, status 408, 429 or 5xx, or a body that is no JSON."""
    backoff_s: float = 1.0
    """Seconds before the first further try, doubled each time; a Retry-After header wins."""
    longest_wait_s: float = 60.0
    """No wait between tries is longer than this, whatever the endpoint asks for."""
    workers: int = 4
    """Requests under way at the same time."""
    price_prompt: float = 0.0
    """Price of a million prompt tokens in any currency; 0 with ``price_completion`` 0 counts tokens only."""
    price_completion: float = 0.0
    """Price of a million completion tokens."""
    position_margin: float = 0.1
    """Biased if the interval of the first place's win rate lies further than this from 0.5."""
    consistency_min: float = 0.6
    """Biased if fewer pairs than this share get the same verdict in both orders."""

    def __post_init__(self) -> None:
        require(
            not (self.url and self.path), "judge: both an endpoint and a local model are named", hint="give --judge.url or --judge.path"
        )
        require(not self.url or bool(self.model), "judge: the endpoint's model is not named", hint="add --judge.model NAME")
        require(not self.model or bool(self.url), "judge: a model is named, but no endpoint", hint="add --judge.url http://HOST:PORT/v1")
        require(
            not self.url or self.url.startswith(("http://", "https://")),
            f"judge.url {self.url!r} is no http address",
            hint="for example http://localhost:8000/v1",
        )
        require(self.temperature >= 0, f"judge.temperature must be >= 0, got {self.temperature}")
        require(self.max_tokens >= 1, f"judge.max_tokens must be >= 1, got {self.max_tokens}")
        require(self.reasks >= 0, f"judge.reasks must be >= 0, got {self.reasks}")
        require(self.timeout_s > 0, f"judge.timeout_s must be > 0, got {self.timeout_s}")
        require(self.retries >= 0, f"judge.retries must be >= 0, got {self.retries}")
        require(self.backoff_s >= 0, f"judge.backoff_s must be >= 0, got {self.backoff_s}")
        require(self.longest_wait_s >= 0, f"judge.longest_wait_s must be >= 0, got {self.longest_wait_s}")
        require(self.workers >= 1, f"judge.workers must be >= 1, got {self.workers}")
        require(min(self.price_prompt, self.price_completion) >= 0, "judge: a price is negative")
        require(0 <= self.position_margin < 0.5, f"judge.position_margin must be in [0, 0.5), got {self.position_margin}")
        require(0 <= self.consistency_min <= 1, f"judge.consistency_min must be in [0, 1], got {self.consistency_min}")
        require(isinstance(self.extra_body, dict), f"judge.body is no JSON object: {self.body}", hint="""e.g. '{"seed": 1}'""")

    @property
    def wanted(self) -> bool:
        """Whether there is a judge at all."""
        return bool(self.url or self.path)

    @property
    def name(self) -> str:
        """How tables call the judge."""
        return self.model or self.path

    @property
    def extra_body(self) -> Any:
        """``body`` as values; None if it is no JSON."""
        try:
            return json.loads(self.body) if self.body else {}
        except json.JSONDecodeError:
            return None

    def identity(self) -> dict[str, Any]:
        """The settings on which verdicts depend; the others may change when a stopped run is resumed."""
        return {name: value for name, value in asdict(self).items() if name not in _MAY_CHANGE}
