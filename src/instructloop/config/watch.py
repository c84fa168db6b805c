"""Configuration of the watch over a PPO run (``ppo.watch``): what is looked at, how often, where alarms ring, what follows (spec I14)."""

from dataclasses import dataclass
from typing import Literal

from instructloop.config.shared import require

WATCHED = ("unconfirmed", "falling", "disagreement", "kl", "entropy", "variety", "length", "truncation", "refusals", "hedging")
"""The alarms that a watch can ring."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WatchConfig:
    """Alarms during PPO, judged on selection prompts by reward models that PPO does not maximize. ``every = 0`` switches it off."""

    every: int = 0
    """Iterations between looks; 0 never looks. The last iteration is always looked at."""
    prompts: str = ""
    """Selection prompts: neither those that PPO rolls out from nor test prompts (spec J-P18)."""
    limit: int = 200
    """Use the first n selection prompts; 0 uses all."""
    draws: int = 1
    """Completions of each prompt."""
    reward_models: tuple[str, ...] = ()
    """Held-out judges: reward models trained on other rankings than the one that is maximized."""
    action: Literal["warn", "stop", "roll_back"] = "warn"
    """What an alarm does: say so; end the run; end it and publish the best iteration before the alarm."""
    acts_on: tuple[str, ...] = ("unconfirmed", "falling", "disagreement")
    """Alarms that ``action`` follows; the others warn."""
    select: bool = False
    """Publish the iteration that the held-out judges prefer, also where no alarm rang (spec J-P18)."""
    measure_kl: bool = True
    """Measure the KL of the looked-at replies against the reference, which is held in memory for it; else the rollouts' KL is taken."""
    looks: int = 1
    """Looks in a row at which an alarm's condition must hold before it rings."""
    standard_errors: float = 2.0
    """How far beyond chance a paired difference must lie (one-sided, standard errors over prompts)."""
    proxy_gain: float = 0.2
    """Smallest gain of the maximized reward (standard deviations of the reference's rewards) that must be confirmed."""
    confirmed: float = 0.5
    """Share of that gain that the held-out judges must see. In the miniature healthy runs stand at 0.8 to 1.1, hacked ones at 0.4 to 0.5."""
    fall: float = 0.1
    """Fall of the held-out preference from its best (standard deviations) that is alarming, if beyond chance."""
    disagreement: float = 1.5
    """Spread between reward models, as a multiple of their spread on the reference's replies."""
    kl: float = 6.0
    """Sequence KL from the reference in nats."""
    entropy: float = 0.1
    """Token entropy in nats below which it has collapsed."""
    variety: float = 0.7
    """Distinct-2 as a share of the reference's, below which replies have become a formula."""
    length: float = 1.5
    """Mean length as a multiple of the reference's; its inverse counts as well."""
    truncation: float = 0.2
    """Rise of the share of replies that are cut off."""
    refusals: float = 0.15
    """Rise of the share of replies that decline."""
    hedging: float = 0.15
    """Rise of the share of replies that say they do not know."""

    def __post_init__(self) -> None:
        require(self.every >= 0, f"ppo.watch.every must be >= 0, got {self.every}", hint="0 switches the watch off")
        require(
            self.every == 0 or bool(self.prompts),
            "ppo.watch.every is set, but ppo.watch.prompts is empty",
            hint="name a file of selection prompts",
        )
        require(self.limit == 0 or self.limit >= 2, f"ppo.watch.limit must be 0 or >= 2, got {self.limit}")
        require(self.draws >= 1, f"ppo.watch.draws must be >= 1, got {self.draws}")
        require(self.looks >= 1, f"ppo.watch.looks must be >= 1, got {self.looks}")
        require(self.standard_errors >= 0, f"ppo.watch.standard_errors must be >= 0, got {self.standard_errors}")
        unknown = [name for name in self.acts_on if name not in WATCHED]
        require(not unknown, f"ppo.watch.acts_on: no alarm is called {''.join(unknown[:1])!r}", hint=f"alarms: {', '.join(WATCHED)}")
        require(
            not self.select or bool(self.reward_models),
            "ppo.watch.select needs held-out reward models",
            hint="name them: ppo.watch.reward_models",
        )
        for name in (
            "proxy_gain",
            "confirmed",
            "fall",
            "disagreement",
            "kl",
            "entropy",
            "variety",
            "length",
            "truncation",
            "refusals",
            "hedging",
        ):
            require(getattr(self, name) >= 0, f"ppo.watch.{name} must be >= 0, got {getattr(self, name)}")
        require(self.length >= 1, f"ppo.watch.length must be >= 1, got {self.length}", hint="it is a ratio; its inverse counts as well")
