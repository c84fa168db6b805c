"""The sentences of a model card: limits (spec L8), uses (L7), and whom such a model is aligned to (L1)."""

_SMALL = 100_000_000

PEOPLE = (
    "A model that learned from preferences is aligned to particular people: those who judged, those who wrote their instructions, and those "
    "whose prompts were judged. None of these groups speaks for everybody whom its answers may concern."
)

INTENDED = "Research and development: studying how preferences shape a language model, and building on it with tests of your own."

NOT_INTENDED = (
    "Not for decisions about people: medical advice, credit, employment, housing, law enforcement, or sorting people by protected traits.",
    "Not for political advertising, nor for passing off its text as a person's.",
    "Not unattended before people: review a use case first, watch for misuse, and keep a way to switch it off.",
)

_WRITERS = (
    "It repeats itself, most of all in long answers.",
    "It has no source but its weights: it states false things in the same tone as true ones, and may cite what does not exist.",
    "It was made mostly from text of one language and region; in others it does worse, and its tests say little about them.",
    "Nobody can read off its weights why it answers as it does.",
    "On prompts unlike its training data, and even on a rewording, its answers vary widely.",
    "It carries the prejudices of its text and of its labelers.",
    "It follows harmful instructions: doing what is asked is what it was trained for. Anything between it and the public must refuse for it.",
)

_JUDGE = (
    "It compares answers to one prompt; across prompts its numbers mean little.",
    "On answers unlike those that were ranked it is guessing, and a policy that maximizes it finds its mistakes.",
    "It likes what its labelers liked, their habits included: length, confident tone, lists.",
    "It carries their prejudices, and knows no facts: an answer that sounds right may score above one that is.",
    "Nobody can read off its weights why it prefers an answer.",
)

_BASE = ("It continues a text and follows no instruction.",)


def limits_of(kind: str, parameters: int = 0) -> tuple[str, ...]:
    """What a model of a stage cannot do.

    Args:
        kind: ``pretrain``, ``sft``, ``rm`` or ``ppo``.
        parameters: its size; 0 if unknown.
    """
    small = f"With {parameters:,} parameters it is a toy: it knows its small world, and nothing of the real one can be expected of it."
    start = (small,) if 0 < parameters < _SMALL // 10 else ()
    if 0 < parameters < _SMALL and not start:
        start = (f"With {parameters:,} parameters it is small: it knows little and reasons less.",)
    if kind == "rm":
        return (*start, *_JUDGE)
    reward = ("Its reward stands in for people's wishes; where the two part, it follows the reward.",) if kind == "ppo" else ()
    return (*start, *(_BASE if kind == "pretrain" else ()), *reward, *_WRITERS)
