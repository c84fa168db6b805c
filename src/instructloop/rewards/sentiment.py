"""A reward from a sentiment lexicon: VADER's compound score, by the package ``vaderSentiment``."""

import torch

from instructloop.core.errors import MissingExtraError
from instructloop.generation.rollouts import Rollouts
from instructloop.rewards.base import Reward, RewardOutput, rewards


@rewards.register("sentiment")
def sentiment(with_prompt: bool = False) -> Reward:
    """VADER's compound sentiment of the completion, from -1 (dark) to 1 (bright).

    Args:
        with_prompt: score prompt and completion together instead of the completion alone.

    Raises:
        MissingExtraError: vaderSentiment is not installed.
    """
    try:
        from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer
    except ImportError as error:
        raise MissingExtraError.for_extra("vaderSentiment", "lab") from error
    from instructloop.core.records import prompt_text

    analyzer = SentimentIntensityAnalyzer()

    def score(rollouts: Rollouts) -> RewardOutput:
        texts = rollouts.completions
        if with_prompt:
            texts = tuple(prompt_text(prompt.prompt) + text for prompt, text in zip(rollouts.prompts, texts, strict=True))
        compound = [float(analyzer.polarity_scores(text)["compound"]) for text in texts]
        return RewardOutput(scores=torch.tensor(compound, dtype=torch.float32, device=rollouts.logprobs.device))

    return score
