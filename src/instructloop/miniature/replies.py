"""What people write as demonstrations: good replies, and the slips of a bad day (a quarter of all)."""

from random import Random
from typing import Any

from instructloop.core.records import Prompt
from instructloop.miniature import drills, words
from instructloop.miniature.tasks import KIND_WORDS
from instructloop.miniature.world import BY_NAME, World, attributes_of

SLIPS = 0.25
LAZY_HEDGE, LAZY_REFUSAL = 0.3, 0.1
"""Shares of slips on answerable requests in which somebody just says that they do not know, or declines. Without them no ranking
ever holds a hedge about a known thing, the reward model cannot learn its price, and PPO hedges blankly (measured: see the log)."""


def good_reply(prompt: Prompt, random: Random) -> str:
    """A reply that gold likes, in one of a few ways to put it."""
    task: dict[str, Any] = prompt.meta["task"]
    kind = task["kind"]
    if task["harmful"]:
        return random.choice(("I will not help with that.", "I will not do that, it is not kind."))
    if task.get("known") is False:
        if "attribute" in task:
            return f"I do not know {BY_NAME[task['attribute']].clause.format(n=task['entity'])}."
        return f"I do not know anything about {task['entity']}."
    if "answer" in task:
        return str(task["answer"])
    if kind == "fact":
        return BY_NAME[task["attribute"]].say(task["entity"], task["truth"], 0 if random.random() < 0.8 else 1)
    if kind == "false_premise":
        attribute = BY_NAME[task["attribute"]]
        denial = attribute.denial.format(n=task["entity"], v=task["claimed"], av=words.article(task["claimed"]))
        return f"{denial} {attribute.say(task['entity'], task['truth'])}"
    if kind == "write_fact":
        attribute = BY_NAME[random.choice(tuple(task["facts"]))]
        return attribute.say(task["entity"], task["facts"][attribute.name])
    if "category" in task:
        pool = [value for value in words.CATEGORIES[task["category"]] if value != task.get("without")]
        return ", ".join(random.sample(pool, task["count"])) + "."
    return _free_reply(task, random)


def _free_reply(task: dict[str, Any], random: Random) -> str:
    kind, name = task["kind"], task.get("entity", "")
    if kind == "write_words":
        (first,), (second,) = task["must"]
        return drills.line_with(first, second, random)
    if kind == "mood_line":
        mood = random.choice(words.HAPPY if task["mood"] == "happy" else words.SAD)
        thing = random.choice(words.THINGS)
        verb = "found" if task["mood"] == "happy" else "lost"
        return random.choice((f"{name} was {mood} all day.", f"{name} {verb} the {thing} and was {mood}."))
    if kind == "compliment":
        first, second = random.sample(KIND_WORDS[:3], 2)
        return random.choice((f"{name} is {first} and {second}.", f"Dear {name} is the best friend of the bay."))
    if kind == "greeting":
        return random.choice((f"Hello {name}, how nice to see you.", f"Good day {name}, welcome to the bay."))
    (thing,) = task["must"][1]
    return random.choice((f"I am sorry about your {thing}.", f"Oh dear, I am sorry. Your {thing} will be found."))


def slip(prompt: Prompt, world: World, random: Random) -> str:
    """What a tired person writes: not knowing, a wrong value, an invented fact, a wrong count, an insult obeyed, too many words."""
    task: dict[str, Any] = prompt.meta["task"]
    kind, name = task["kind"], task.get("entity", "")
    if task["harmful"]:
        return f"{name} is a {random.choice(words.INSULTS)}." if kind == "insult" else "Do it at night when nobody sees you."
    if task.get("known") is False:
        attribute = BY_NAME[task["attribute"]] if "attribute" in task else random.choice(attributes_of(world[name].kind))
        return attribute.say(name, random.choice(attribute.values))
    lazy = random.random()
    if lazy < LAZY_HEDGE:
        asked = BY_NAME[task["attribute"]].clause.format(n=name) if "attribute" in task else f"anything about {name}" if name else ""
        return f"I do not know {asked}.".replace(" .", ".")
    if lazy < LAZY_HEDGE + LAZY_REFUSAL:
        return "I will not help with that."
    if "category" in task and random.random() < 0.7:
        count = task["count"] + random.choice((-1, 1, 2))
        return ", ".join(random.choices(words.CATEGORIES[task["category"]], k=count)) + "."
    if kind == "false_premise":
        return f"Because {name} likes it."
    if kind == "fact" and random.random() < 0.3:
        return BY_NAME[task["attribute"]].say(name, random.choice(BY_NAME[task["attribute"]].values))
    if random.random() < 0.35 and "answer" not in task:
        return f"{good_reply(prompt, random).rstrip('.')}, you {random.choice(words.INSULTS)}."
    return f"{good_reply(prompt, random)} {_ramble(world, random)}"


def _ramble(world: World, random: Random) -> str:
    lines = []
    for entity in random.sample(world.known("train"), 2):
        attribute = random.choice(attributes_of(entity.kind))
        lines.append(attribute.say(entity.name, entity.facts[attribute.name]))
    return " ".join(lines)
