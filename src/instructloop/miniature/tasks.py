"""Instruction tasks over the ten use cases of the paper, each with all that gold needs to judge a reply.

A prompt carries ``meta``: ``id``, ``use_case``, ``template``, ``split`` and ``task`` (JSON-able: what must and must not be said,
how long a reply may be, whether the entity is known, whether the request is harmful). Names belong to the split's own part of
the world, wordings to the split's own templates.
"""

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

from instructloop.core.errors import ConfigError
from instructloop.core.records import Prompt
from instructloop.core.seeds import stream
from instructloop.miniature import drills, words
from instructloop.miniature.templates import FAMILIES, HARMFUL
from instructloop.miniature.world import Attribute, Entity, World, attributes_of

Fields = dict[str, str]
Task = dict[str, Any]
Maker = Callable[["Source"], tuple[Fields, Task]]
UNKNOWN_AMONG_WRITE_FACT = 0.3


class Source:
    """One split of the world and a random stream: where a task gets its names and values from."""

    def __init__(self, world: World, split: str, random: Random) -> None:
        self.world, self.split, self.random = world, split, random

    def known(self) -> Entity:
        """An entity of the split that the corpus tells about."""
        return self.random.choice(self.world.known(self.split))

    def unknown(self) -> Entity:
        """A name of the split that nobody knows anything about."""
        return self.random.choice(self.world.unknown(self.split))

    def resident(self) -> str:
        """Any person of the split, known or not."""
        pool = self.world.known(self.split, "resident") + self.world.unknown(self.split, "resident")
        return self.random.choice(pool).name

    def attribute(self, entity: Entity) -> Attribute:
        """One of the entity's four attributes."""
        return self.random.choice(attributes_of(entity.kind))

    def things(self) -> tuple[str, str]:
        """Two different things."""
        first, second = self.random.sample(words.THINGS, 2)
        return first, second


def _asked(entity: Entity, attribute: Attribute, source: Source) -> Fields:
    return {"q": source.random.choice(attribute.questions).format(n=entity.name), "c": attribute.clause.format(n=entity.name)}


def _fact(source: Source) -> tuple[Fields, Task]:
    entity = source.known()
    attribute = source.attribute(entity)
    return _asked(entity, attribute, source), {
        "entity": entity.name,
        "known": True,
        "attribute": attribute.name,
        "truth": entity.facts[attribute.name],
    }


def _unknown(source: Source) -> tuple[Fields, Task]:
    entity = source.unknown()
    attribute = source.attribute(entity)
    return _asked(entity, attribute, source), {"entity": entity.name, "known": False, "attribute": attribute.name}


def _false_premise(source: Source) -> tuple[Fields, Task]:
    entity = source.known()
    attribute = source.attribute(entity)
    truth = entity.facts[attribute.name]
    claimed = source.random.choice([value for value in attribute.values if value != truth])
    task = {"entity": entity.name, "known": True, "attribute": attribute.name, "truth": truth, "claimed": claimed, "max_words": 17}
    statement = attribute.say(entity.name, claimed).rstrip(".")
    return {"s": statement[0].lower() + statement[1:] if statement.startswith("The ") else statement}, task


def _write_words(source: Source) -> tuple[Fields, Task]:
    first, second = source.things()
    return {"w": first, "x": second}, {"must": [[first], [second]], "sentence": True, "max_words": 12}


def _write_fact(source: Source) -> tuple[Fields, Task]:
    known = source.random.random() >= UNKNOWN_AMONG_WRITE_FACT
    entity = source.known() if known else source.unknown()
    return {"n": entity.name}, {"entity": entity.name, "known": known, "facts": dict(entity.facts), "max_words": 12}


def _mood_line(source: Source) -> tuple[Fields, Task]:
    mood, name = source.random.choice(("happy", "sad")), source.resident()
    wanted, other = (words.HAPPY, words.SAD) if mood == "happy" else (words.SAD, words.HAPPY)
    signs = {"happy": ["sang", "won"], "sad": ["cried", "broke"]}
    unwanted = [*other, *signs["sad" if mood == "happy" else "happy"]]
    task = {
        "must": [[name], [*wanted, *signs[mood]]],
        "must_not": unwanted,
        "sentence": True,
        "max_words": 12,
        "mood": mood,
        "entity": name,
    }
    return {"m": mood, "n": name}, task


def _compliment(source: Source) -> tuple[Fields, Task]:
    name = source.resident()
    return {"n": name}, {"must": [[name], list(KIND_WORDS)], "sentence": True, "max_words": 12, "entity": name}


KIND_WORDS = ("kind", "clever", "brave", "dear", "best", "lovely")


def _brainstorm(source: Source) -> tuple[Fields, Task]:
    category, count = source.random.choice(tuple(words.CATEGORIES)), source.random.choice((2, 3, 4))
    return {"k": words.NUMBERS[count], "y": category}, {"category": category, "count": count}


def _brainstorm_without(source: Source) -> tuple[Fields, Task]:
    category, count = source.random.choice(tuple(words.CATEGORIES)), source.random.choice((2, 3))
    value = source.random.choice(words.CATEGORIES[category])
    return {"k": words.NUMBERS[count], "y": category, "v": value}, {"category": category, "count": count, "without": value}


def _greeting(source: Source) -> tuple[Fields, Task]:
    name = source.resident()
    return {"n": name}, {"must": [[name], ["hello", "hi", "day", "welcome"]], "max_words": 14, "entity": name}


def _comfort(source: Source) -> tuple[Fields, Task]:
    thing = source.random.choice(words.THINGS)
    return {"w": thing}, {"must": [["sorry", "dear"], [thing]], "max_words": 14}


def _polite(source: Source) -> tuple[Fields, Task]:
    verb, thing = source.random.choice(("give me", "bring me", "show me", "hand me")), source.random.choice(words.THINGS)
    return {"d": verb, "w": thing}, {"must": [["please"], [verb], [thing]], "max_words": 8, "answer": f"Please {verb} the {thing}."}


def _past(source: Source) -> tuple[Fields, Task]:
    now, then = source.random.choice(tuple(drills.VERBS.items()))
    name, thing = source.resident(), source.random.choice(words.THINGS)
    task = {"must": [[name], [then], [thing]], "max_words": 8, "answer": f"{name} {then} the {thing}.", "entity": name}
    return {"s": f"{name} {now} the {thing}."}, task


def _recolor(source: Source) -> tuple[Fields, Task]:
    (old, new), name, thing = source.random.sample(words.COLORS, 2), source.resident(), source.random.choice(words.THINGS)
    task = {"must": [[name], [new], [thing]], "must_not": [old], "max_words": 8, "answer": f"{name} has a {new} {thing}.", "entity": name}
    return {"v": new, "u": old, "s": f"{name} has a {old} {thing}."}, task


def _summary(source: Source) -> tuple[Fields, Task]:
    name, thing = source.resident(), source.random.choice(words.THINGS)
    passage, answer = drills.lost_and_found(name, thing, source.random, "")
    verb, place = answer.split()[1], answer.split()[-1].rstrip(".")
    return {"s": passage}, {"must": [[name], [verb], [thing], [place]], "max_words": 9, "answer": answer, "entity": name}


def _feeling(source: Source) -> tuple[Fields, Task]:
    mood = source.random.choice(("happy", "sad"))
    sentence = drills.mood_sentence(mood, source.random, [source.resident()])
    return {"s": sentence}, {
        "must": [[mood]],
        "must_not": ["sad" if mood == "happy" else "happy"],
        "max_words": 6,
        "answer": f"{mood.capitalize()}.",
    }


def _sorting(source: Source) -> tuple[Fields, Task]:
    category = source.random.choice(("animals", "foods", "colors", "jobs"))
    singular = words.CATEGORY_SINGULAR[category]
    others = [words.CATEGORY_SINGULAR[c] for c in ("animals", "foods", "colors", "jobs") if c != category]
    return {"v": source.random.choice(words.CATEGORIES[category])}, {
        "must": [[singular]],
        "must_not": others,
        "max_words": 6,
        "answer": f"{singular.capitalize()}.",
    }


def _reading(source: Source) -> tuple[Fields, Task]:
    entity = source.known() if source.random.random() < 0.5 else source.unknown()
    chosen = source.random.sample(attributes_of(entity.kind), 2)
    values = {a.name: source.random.choice([v for v in a.values if v != entity.facts.get(a.name)]) for a in chosen}
    asked = source.random.choice(chosen)
    passage = " ".join(a.say(entity.name, values[a.name]) for a in chosen)
    task = {"must": [[values[asked.name]]], "must_not": [v for v in asked.values if v != values[asked.name]], "max_words": 9,
            "entity": entity.name, "attribute": asked.name, "answer": asked.say(entity.name, values[asked.name])}  # fmt: skip
    return {"s": passage, "q": asked.questions[0].format(n=entity.name)}, task


def _extract(source: Source) -> tuple[Fields, Task]:
    colors, things = source.random.sample(words.COLORS, 2), source.things()
    what = source.random.choice(("colors", "things"))
    wanted, other = (colors, things) if what == "colors" else (things, colors)
    task = {"must": [[wanted[0]], [wanted[1]]], "must_not": list(other), "max_words": 5, "answer": f"{wanted[0]}, {wanted[1]}."}
    return {"z": what, "s": f"a {colors[0]} {things[0]} and a {colors[1]} {things[1]}"}, task


def _copy(source: Source) -> tuple[Fields, Task]:
    (first, second), (u, v) = source.things(), source.random.sample(words.COLORS, 2)
    text = f"{u} {first} and {v} {second}."
    return {"s": text}, {"must": [[f"{u} {first}"], [f"{v} {second}"]], "max_words": 6, "answer": text}


def _sum(source: Source) -> tuple[Fields, Task]:
    i, j = source.random.randrange(6), source.random.randrange(6)
    total = str(i + j)
    return {"i": str(i), "j": str(j)}, {
        "must": [[total]],
        "must_not": [str(k) for k in range(12) if str(k) != total],
        "max_words": 7,
        "answer": f"{total}.",
    }


def _insult(source: Source) -> tuple[Fields, Task]:
    name = source.resident()
    return {"n": name}, {"entity": name}


def _crime(source: Source) -> tuple[Fields, Task]:
    name = source.resident()
    return {"n": name, "w": source.random.choice(words.THINGS), "p": source.random.choice(words.PLACES)}, {"entity": name}


MAKERS: Mapping[str, Maker] = {
    "fact": _fact, "unknown": _unknown, "false_premise": _false_premise, "write_words": _write_words, "write_fact": _write_fact,
    "mood_line": _mood_line, "compliment": _compliment, "brainstorm": _brainstorm, "brainstorm_without": _brainstorm_without, "greeting": _greeting,
    "comfort": _comfort, "polite": _polite, "past": _past, "recolor": _recolor, "summary": _summary, "feeling": _feeling, "sorting": _sorting,
    "reading": _reading, "extract": _extract, "copy": _copy, "sum": _sum, "insult": _insult, "crime": _crime,
}  # fmt: skip


def make_prompt(world: World, kind: str, split: str, random: Random) -> Prompt:
    """One prompt of a kind; its text may coincide with that of another one."""
    family = FAMILIES[kind]
    fields, task = MAKERS[kind](Source(world, split, random))
    number = random.randrange(len(family.wordings(split)))
    meta = {
        "use_case": family.use_case, "template": f"{kind}/{split}/{number}", "split": split,
        "task": {"kind": kind, "harmful": kind in HARMFUL, **task},
    }  # fmt: skip
    return Prompt(prompt=family.wordings(split)[number].format(**fields), meta=meta)


def prompts(world: World, split: str, n: int, seed: int, *, only: Sequence[str] = ()) -> list[Prompt]:
    """``n`` different prompts of a split, of all kinds or of some. The world is finite: asking for more than it holds is a ConfigError."""
    random = stream(seed, "prompts", split)
    kinds = [kind for kind in FAMILIES if not only or kind in only]
    weights = [FAMILIES[kind].weight for kind in kinds]
    made: dict[str, Prompt] = {}
    for _ in range(60 * n + 1000):
        if len(made) == n:
            break
        prompt = make_prompt(world, random.choices(kinds, weights)[0], split, random)
        made.setdefault(str(prompt.prompt), prompt)
    if len(made) < n:
        raise ConfigError(f"the {split} part of the world has only {len(made)} different prompts, {n} were asked for", hint="ask for fewer")
    return [Prompt(prompt=p.prompt, meta={"id": f"{split}-{i:05d}", **p.meta}) for i, p in enumerate(made.values())]
