"""Writing checkpoints that plain transformers opens: weights, tokenizer, chat template, generation config and a model card."""

import copy
from pathlib import Path

import torch
from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from instructloop.data import TextCodec
from instructloop.models.adapters import plain_state_dict
from instructloop.models.load import BIAS_KEY
from instructloop.models.quiet import quiet_transformers
from instructloop.models.scalar import ScalarModel

PAD_TOKEN = "<|padding|>"  # noqa: S105 - a token of text


def save_causal(model: PreTrainedModel, codec: TextCodec | PreTrainedTokenizerBase, path: Path, *, card: str) -> None:
    """Write a policy that opens with plain ``AutoModelForCausalLM``; adapters are merged into the written weights.

    Args:
        model: the language model.
        codec: its tokenizer, alone or in a codec; with a codec, the generation config stops where training stopped.
        path: directory to fill.
        card: Markdown of the model card.
    """
    path.mkdir(parents=True, exist_ok=True)
    tokenizer = codec.tokenizer if isinstance(codec, TextCodec) else codec
    with quiet_transformers():
        model.save_pretrained(path, state_dict=plain_state_dict(model))
    own = getattr(model, "generation_config", None)
    generation = GenerationConfig.from_model_config(model.config) if own is None else copy.deepcopy(own)
    if isinstance(codec, TextCodec):
        stops = sorted(codec.stop_ids)
        generation.eos_token_id = stops if len(stops) > 1 else stops[0]
        generation.pad_token_id = codec.pad_id
        generation.bos_token_id = tokenizer.bos_token_id
    generation.save_pretrained(path)
    tokenizer.save_pretrained(path)
    _write_card(path, card)


def save_scalar(model: ScalarModel, codec: TextCodec | PreTrainedTokenizerBase, path: Path, *, card: str) -> None:
    """Write a scalar model that opens with plain ``AutoModelForSequenceClassification``, equal up to the stored bias.

    Plain pooling reads the last token that is not PAD, so the written PAD must never end a completion: it is the
    tokenizer's own PAD if that is no stop token, else its unknown or its BOS token, else a new token, for which the
    written embedding gets a further row where it has none to spare. The model in memory is left alone.

    Args:
        model: the reward model or value network.
        codec: the tokenizer, alone or in a codec.
        path: directory to fill.
        card: Markdown of the model card.
    """
    path.mkdir(parents=True, exist_ok=True)
    classifier = model.classifier
    state = {name.removeprefix("classifier."): value for name, value in plain_state_dict(model).items() if name != "score_bias"}
    tokenizer = copy.deepcopy(codec.tokenizer if isinstance(codec, TextCodec) else codec)
    stops = codec.stop_ids if isinstance(codec, TextCodec) else frozenset({tokenizer.eos_token_id})
    pad = _pad_apart(tokenizer, stops)
    tokenizer.padding_side = "right"
    original = classifier.config
    classifier.config = copy.deepcopy(original)
    try:
        classifier.config.pad_token_id = pad
        setattr(classifier.config, BIAS_KEY, float(model.score_bias))
        _make_room(classifier, state, rows=pad + 1)
        with quiet_transformers():
            classifier.save_pretrained(path, state_dict=state)
    finally:
        classifier.config = original
    tokenizer.save_pretrained(path)
    _write_card(path, card)


def _pad_apart(tokenizer: PreTrainedTokenizerBase, stops: frozenset[int]) -> int:
    """Give the tokenizer a PAD that is no stop token and return its id."""
    for token, number in (
        (tokenizer.pad_token, tokenizer.pad_token_id),
        (tokenizer.unk_token, tokenizer.unk_token_id),
        (tokenizer.bos_token, tokenizer.bos_token_id),
    ):
        if number is not None and number not in stops:
            tokenizer.pad_token = token
            return int(number)
    tokenizer.add_special_tokens({"pad_token": PAD_TOKEN})
    return int(tokenizer.get_vocab()[PAD_TOKEN])


def _make_room(classifier: PreTrainedModel, state: dict[str, Tensor], *, rows: int) -> None:
    """Append zero rows to the written embedding until it has ``rows`` of them, and say so in the written configuration."""
    weight = classifier.get_input_embeddings().weight
    assert isinstance(weight, Tensor)
    if weight.shape[0] >= rows:
        return
    name = next(name for name, value in classifier.named_parameters() if value is weight).replace(".base_layer.", ".")
    state[name] = torch.cat([state[name], weight.new_zeros(rows - weight.shape[0], weight.shape[1])])
    classifier.config.get_text_config().vocab_size = rows


def _write_card(path: Path, card: str) -> None:
    (path / "README.md").write_text(card if card.endswith("\n") else card + "\n", encoding="utf-8")
