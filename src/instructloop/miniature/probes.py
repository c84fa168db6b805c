"""What a model of the bay can still do, whatever it was trained on last: facts, reading, going on with a list of questions.

Each probe asks an engine and gives one 0/1 an item. Facts and reading go on with plain text in the corpus's own form, so that a base model and
its descendants are asked alike. They are asked without examples: after few-shot examples about other entities a model of this size copies
their values instead of telling what it knows (see the log). Entities are the held-out ones.
"""

import re
from collections.abc import Sequence

from instructloop.config import SamplingConfig
from instructloop.core.errors import ConfigError
from instructloop.core.records import Prompt
from instructloop.core.seeds import stream
from instructloop.data import TextCodec
from instructloop.evaluation import Probe
from instructloop.generation import Engine, TorchEngine
from instructloop.miniature.gold import said
from instructloop.miniature.world import Attribute, Entity, World, attributes_of

PLAIN = SamplingConfig(temperature=0.0, max_new_tokens=6)


def _continued(engine: Engine, texts: Sequence[str]) -> list[str]:
    """Greedy continuations of plain text, up to the first full stop or line end."""
    if not isinstance(engine, TorchEngine):
        raise ConfigError("the probes continue plain text, which needs the torch engine", hint="evaluate with the default engine")
    plain = TorchEngine(engine.model, TextCodec(engine.codec.tokenizer, chat_template=False))
    rollouts = plain.generate([Prompt(prompt=text) for text in texts], n=1, sampling=PLAIN, seed=0)
    return [re.split(r"[.\n]", text, maxsplit=1)[0] for text in rollouts.completions]


def _begun(attribute: Attribute, entity: Entity) -> str:
    """The plain statement up to its value: "Mira eats"."""
    return re.sub(r"( an?)? @.*", "", attribute.say(entity.name, "@"))


def facts(world: World) -> Probe:
    """Every fact of the held-out known entities: the question, a line end, the beginning of the answer. Right is the value that is true."""
    items = [(entity, attribute) for entity in world.known("test") + world.known("validation") for attribute in attributes_of(entity.kind)]

    def probe(engine: Engine) -> dict[str, list[float]]:
        replies = _continued(engine, [f"{a.questions[0].format(n=e.name)}\n{_begun(a, e)}" for e, a in items])
        return {"facts": [float(said(a.values, reply) == {e.facts[a.name]}) for reply, (e, a) in zip(replies, items, strict=True)]}

    return probe


def reading(world: World, n: int = 120) -> Probe:
    """Passages whose values contradict what is known; right is what the passage says. Passage, question, beginning of the answer."""
    random = stream(world.seed, "probe", "reading")
    items = []
    for _ in range(n):
        entity = random.choice(world.known("test", "resident"))
        chosen = random.sample(attributes_of(entity.kind), 3)
        values = {a.name: random.choice([v for v in a.values if v != entity.facts[a.name]]) for a in chosen}
        asked = random.choice(chosen)
        passage = "Today " + " ".join(a.say(entity.name, values[a.name]) for a in chosen)
        items.append((f"{passage}\n{asked.questions[0].format(n=entity.name)} {_begun(asked, entity)}", values[asked.name], asked.values))

    def probe(engine: Engine) -> dict[str, list[float]]:
        replies = _continued(engine, [text for text, *_ in items])
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
        return {"question_for_question": [float(text.strip().split("\n", 1)[0].endswith("?")) for text in rollouts.completions]}

    return probe


def all_probes(world: World) -> tuple[Probe, ...]:
    """Facts, reading, list continuation."""
    return facts(world), reading(world), list_continuation(world)
