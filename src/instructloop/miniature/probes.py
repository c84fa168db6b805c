"""What a model of the bay can still do, whatever it was trained on last: facts, reading, going on with a list of questions.

Each probe asks an engine and gives one 0/1 an item. Facts are asked few-shot, as turns of the chat frame, so that a base model and
its descendants are asked alike (the paper's few-shot benchmarks, spec H12); reading goes on with plain text. Entities are the held-out ones.
"""

import re
from collections.abc import Sequence

from instructloop.config import SamplingConfig
from instructloop.core.errors import ConfigError
from instructloop.core.records import Message, Prompt
from instructloop.core.seeds import stream
from instructloop.data import TextCodec
from instructloop.evaluation import Probe
from instructloop.generation import Engine, TorchEngine
from instructloop.miniature.gold import said
from instructloop.miniature.world import World, attributes_of

SHOTS = 3
GREEDY = SamplingConfig(temperature=0.0, max_new_tokens=16)


def _first_line(text: str) -> str:
    return text.strip().split("\n", 1)[0]


def _ask(engine: Engine, shots: Sequence[tuple[str, str]], questions: Sequence[str]) -> list[str]:
    turns = [message for asked, reply in shots for message in (Message("user", asked), Message("assistant", reply))]
    prompts = [Prompt(prompt=(*turns, Message("user", question))) for question in questions]
    rollouts = engine.generate(prompts, n=1, sampling=GREEDY, seed=0)
    return [_first_line(text) for text in rollouts.completions]


def facts(world: World) -> Probe:
    """Every fact of the held-out known entities, asked after three answered questions about others."""
    random = stream(world.seed, "probe", "facts")
    items = [(entity, attribute) for entity in world.known("test") + world.known("validation") for attribute in attributes_of(entity.kind)]

    def probe(engine: Engine) -> dict[str, list[float]]:
        right: dict[int, float] = {}
        for kind in ("resident", "town"):
            shots = []
            for entity, attribute in zip(random.sample(world.known("train", kind), SHOTS), attributes_of(kind), strict=False):
                shots.append((attribute.questions[0].format(n=entity.name), attribute.say(entity.name, entity.facts[attribute.name])))
            chosen = [i for i, (entity, _) in enumerate(items) if entity.kind == kind]
            replies = _ask(engine, shots, [items[i][1].questions[0].format(n=items[i][0].name) for i in chosen])
            for i, reply in zip(chosen, replies, strict=True):
                entity, attribute = items[i]
                right[i] = float(said(attribute.values, reply) == {entity.facts[attribute.name]})
        return {"facts": [right[i] for i in range(len(items))]}

    return probe


def reading(world: World, n: int = 120) -> Probe:
    """Passages whose values contradict what is known; right is what the passage says.

    Asked as plain text in the corpus's own form (passage, question, beginning of the answer), not in the chat frame: it is what the base
    has learned to read, and what a model keeps or loses of it is the alignment tax.
    """
    random = stream(world.seed, "probe", "reading")
    items = []
    for _ in range(n):
        entity = random.choice(world.known("test", "resident"))
        chosen = random.sample(attributes_of(entity.kind), 3)
        values = {a.name: random.choice([v for v in a.values if v != entity.facts[a.name]]) for a in chosen}
        asked = random.choice(chosen)
        passage = "Today " + " ".join(a.say(entity.name, values[a.name]) for a in chosen)
        beginning = re.sub(r"( an?)? @.*", "", asked.say(entity.name, "@"))
        items.append((f"{passage}\n{asked.questions[0].format(n=entity.name)} {beginning}", values[asked.name], asked.values))

    def probe(engine: Engine) -> dict[str, list[float]]:
        if not isinstance(engine, TorchEngine):
            raise ConfigError(
                "the reading probe continues plain text, which needs the torch engine", hint="evaluate with the default engine"
            )
        plain = TorchEngine(engine.model, TextCodec(engine.codec.tokenizer, chat_template=False))
        sampling = SamplingConfig(temperature=0.0, max_new_tokens=6)
        rollouts = plain.generate([Prompt(prompt=text) for text, *_ in items], n=1, sampling=sampling, seed=0)
        replies = [re.split(r"[.\n]", text, maxsplit=1)[0] for text in rollouts.completions]
        return {"reading": [float(said(values, reply) == {value}) for reply, (_, value, values) in zip(replies, items, strict=True)]}

    return probe


def list_continuation(world: World, n: int = 120) -> Probe:
    """How often a bare question is followed by another question: the base does it, an assistant does not."""
    random = stream(world.seed, "probe", "lists")
    questions = []
    for _ in range(n):
        entity = random.choice(world.known("test"))
        questions.append(random.choice(random.choice(attributes_of(entity.kind)).questions).format(n=entity.name))

    def probe(engine: Engine) -> dict[str, list[float]]:
        sampling = SamplingConfig(temperature=1.0, max_new_tokens=16)
        rollouts = engine.generate([Prompt(prompt=question) for question in questions], n=1, sampling=sampling, seed=world.seed)
        return {"question_for_question": [float(_first_line(text).endswith("?")) for text in rollouts.completions]}

    return probe


def all_probes(world: World) -> tuple[Probe, ...]:
    """Facts, reading, list continuation."""
    return facts(world), reading(world), list_continuation(world)
