"""The running average of a model's trained weights (spec E7)."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from instructloop.core.errors import CheckpointError, ConfigError


class EMA:
    """theta_ema <- decay * theta_ema + (1 - decay) * theta, in float32, over the parameters that are trained.

    Half-life: ln 2 / -ln(decay) updates, 86 at the paper's 0.992 (ppo-details PPO-37).
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        if not 0 <= decay < 1:
            raise ConfigError(f"an average needs a decay in [0, 1), got {decay}", hint="InstructGPT used 0.992")
        self.decay = decay
        self.updates = 0
        self._live = {name: value for name, value in model.named_parameters() if value.requires_grad}
        self._average = {name: value.detach().float().clone() for name, value in self._live.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the current weights."""
        for name, value in self._live.items():
            self._average[name].lerp_(value.detach().float(), 1 - self.decay)
        self.updates += 1

    @contextmanager
    def swapped(self) -> Iterator[None]:
        """Inside, the model computes with the average; afterwards its own weights are back, bit for bit."""
        own = {name: value.detach().clone() for name, value in self._live.items()}
        self._write(self._average)
        try:
            yield
        finally:
            self._write(own)

    def state_dict(self) -> dict[str, object]:
        """Everything that resuming needs."""
        return {"decay": self.decay, "updates": self.updates, "average": dict(self._average)}

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Restore an average of the same parameters; other names raise CheckpointError."""
        average = state["average"]
        if not isinstance(average, dict) or average.keys() != self._average.keys():
            raise CheckpointError("the stored weight average belongs to another model", hint="resume with the configuration of that run")
        for name, value in average.items():
            self._average[name].copy_(value)
        self.decay, self.updates = float(str(state["decay"])), int(str(state["updates"]))

    @torch.no_grad()
    def _write(self, values: dict[str, Tensor]) -> None:
        for name, value in self._live.items():
            value.copy_(values[name])
