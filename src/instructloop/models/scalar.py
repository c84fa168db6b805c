"""One number per token from a causal trunk: the reward model and the value network (spec D2, D9, E10)."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from instructloop.core.errors import ConfigError
from instructloop.core.seeds import derive
from instructloop.data import TokenBatch
from instructloop.models.device import device_of, precision
from instructloop.models.packing import hidden_at

GROUP_PROMPT_KEY = "instructloop_group_prompt"
"""Where a reward model's config.json says that it was trained with a text for the labelers' group before every prompt."""


class ScalarModel(nn.Module):
    """A Hugging Face ``...ForSequenceClassification`` model with one label, and a stored bias (spec D8).

    It keeps the library's own class inside, so what is saved opens with plain ``AutoModelForSequenceClassification``.

    Attributes:
        classifier: the library's model.
        score_bias: added to every score, so that demonstrations have mean 0; a buffer, saved in the model's config.json.
    """

    score_bias: Tensor

    def __init__(self, classifier: PreTrainedModel, *, score_bias: float = 0.0) -> None:
        super().__init__()
        head = getattr(classifier, "score", None)
        if not isinstance(head, nn.Linear) or head.out_features != 1 or classifier.base_model is classifier:
            raise ConfigError(
                f"{type(classifier).__name__} has no scalar head called 'score'", hint="use a decoder-only architecture, e.g. Llama"
            )
        self.classifier = classifier
        self.register_buffer("score_bias", torch.tensor(float(score_bias), dtype=torch.float32))

    @property
    def trunk(self) -> PreTrainedModel:
        """The transformer without head."""
        trunk = self.classifier.base_model
        assert isinstance(trunk, PreTrainedModel)
        return trunk

    @property
    def head(self) -> nn.Linear:
        """The linear map from a hidden state to the scalar."""
        head = self.classifier.score
        assert isinstance(head, nn.Linear)
        return head

    @property
    def config(self) -> object:
        """The Hugging Face configuration."""
        return self.classifier.config

    def reset_head(self, seed: int) -> None:
        """A fresh head: weights normal with std 1/sqrt(d + 1), biases 0 (spec D2)."""
        weight = self.head.weight
        generator = torch.Generator().manual_seed(derive(seed, "scalar_head"))
        drawn = torch.randn(weight.shape, generator=generator) / (weight.shape[1] + 1) ** 0.5
        with torch.no_grad():
            weight.copy_(drawn)
            if self.head.bias is not None:
                self.head.bias.zero_()
            self.score_bias.zero_()

    def token_scores(self, batch: TokenBatch) -> Float[Tensor, "B T"]:
        """The scalar at every real token, float32, bias included; 0 after a row's end."""
        batch = batch.to(device_of(self))
        return self._scores_at(
            batch, batch.attention_mask, torch.arange(batch.tokens.shape[1], device=batch.tokens.device).expand_as(batch.tokens)
        )

    def scores(self, batch: TokenBatch) -> Float[Tensor, "B"]:
        """The score of each row, read at its last real token (spec D9; PPO-8): whatever follows it changes nothing."""
        batch = batch.to(device_of(self))
        rows = torch.arange(len(batch), device=batch.tokens.device)
        return self._head_at(batch, rows, batch.last_positions)

    def values(self, batch: TokenBatch) -> Float[Tensor, "B R"]:
        """V(s_t): the value before completion token t, read at the position that precedes it; 0 outside the mask."""
        batch = batch.to(device_of(self))
        return self._scores_at(batch, batch.completion_mask, (batch.completion_positions - 1).clamp(min=0))

    def _scores_at(self, batch: TokenBatch, mask: Bool[Tensor, "B C"], columns: Int[Tensor, "B C"]) -> Float[Tensor, "B C"]:
        """Scalars at some columns of each row, 0 outside the mask."""
        found = self._head_at(batch, mask.nonzero()[:, 0], columns[mask])
        return torch.zeros(mask.shape, device=mask.device).masked_scatter(mask, found)

    def _head_at(self, batch: TokenBatch, rows: Int[Tensor, "n"], columns: Int[Tensor, "n"]) -> Float[Tensor, "n"]:
        with precision(self):
            hidden = hidden_at(self, self.trunk, batch, rows, columns)
        bias = None if self.head.bias is None else self.head.bias.float()
        with torch.autocast(hidden.device.type, enabled=False):
            return F.linear(hidden.float(), self.head.weight.float(), bias).squeeze(-1) + self.score_bias

    def forward(self, batch: TokenBatch) -> Float[Tensor, "B"]:
        """The scores."""
        return self.scores(batch)
