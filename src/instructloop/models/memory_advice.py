"""Which setting shrinks a term of the memory estimate."""

from instructloop.config import PPOConfig, PretrainConfig, RewardModelConfig, SFTConfig


def advice_for(config: PretrainConfig | SFTConfig | RewardModelConfig | PPOConfig, term: str, *, row_tokens: int) -> str:
    """The settings, with a value to try, that shrink ``term``.

    Args:
        config: the stage.
        term: a name of ``Estimate.parts``.
        row_tokens: tokens of the longest row; a pass holds at least one.
    """
    if term in {"weights", "gradients", "optimizer", "average"}:
        return _of_weights(config, term)
    if term in {"gathered", "copy"}:
        return "a smaller model; or lora.rank = 16, whose adapters stay whole"
    if term == "kv_cache":
        return "a smaller max_prompt_tokens or sampling.max_new_tokens (shorter rows), or batch_size (fewer rows)"
    budget = config.compute.micro_batch_tokens
    advice = []
    if budget > row_tokens:
        advice.append(f"compute.micro_batch_tokens = {max(row_tokens, budget // 2, 16)} (now {budget})")
    if term == "activations" and not config.compute.gradient_checkpointing:
        advice.append("compute.gradient_checkpointing = true")
    if not advice:
        advice.append("shorter rows: " + _length_setting(config))
    return " or ".join(advice)


def _of_weights(config: PretrainConfig | SFTConfig | RewardModelConfig | PPOConfig, term: str) -> str:
    if term == "average":
        return "ema_decay = 0 and ema_half_life = 0"
    if isinstance(config, PretrainConfig):
        return "a smaller hidden_size or fewer layers"
    if config.lora.rank == 0:
        kept = {"weights": "frozen weights in the compute precision", "gradients": "gradients", "optimizer": "moments"}[term]
        return f"lora.rank = 16 ({kept if term == 'weights' else kept + ' of the adapters alone'})"
    if term != "weights":
        return f"a smaller lora.rank (now {config.lora.rank})"
    return "a smaller model" if config.compute.dtype == "bfloat16" else "compute.dtype = 'bfloat16', or a smaller model"


def _length_setting(config: PretrainConfig | SFTConfig | RewardModelConfig | PPOConfig) -> str:
    if isinstance(config, PretrainConfig):
        return "context_tokens"
    return "max_prompt_tokens or sampling.max_new_tokens" if isinstance(config, PPOConfig) else "max_tokens"
