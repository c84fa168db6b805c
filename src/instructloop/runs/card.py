"""The model card of a run (spec L1, L8): what was trained on what, for whom, how well, and what it must not be used for.

Everything comes from files: the run's configuration, result and lineage, the manifests and data cards of the snapshots behind it, and the
tables of evaluations. A card has sections of paragraphs, facts and bullets, so that Markdown and HTML say the same.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from instructloop.core.errors import InstructLoopError
from instructloop.core.files import read_json
from instructloop.runs.card_results import result_facts
from instructloop.runs.card_words import INTENDED, NOT_INTENDED, PEOPLE, limits_of
from instructloop.runs.ledger import parameters
from instructloop.runs.lineage import Node, lineage
from instructloop.runs.snapshots import snapshot_manifest

Fact = tuple[str, str]
_LICENSE_FILES = ("LICENSE", "LICENSE.txt", "LICENSE.md", "LICENCE", "COPYING")
_TITLES = {
    "pretrain": "A base language model",
    "sft": "An instruction-following model (SFT)",
    "rm": "A reward model",
    "ppo": "A policy trained with PPO",
}
_STEPS = {
    "pretrain": "It predicts the next token of documents.",
    "sft": "It was fine-tuned on demonstrations, to answer as they do.",
    "rm": "It gives one number for a prompt and an answer, learned from rankings of several answers to a prompt.",
    "ppo": "It was trained by reinforcement learning to raise a reward, held near its start by a KL penalty.",
}


@dataclass(frozen=True, slots=True)
class Section:
    """One part of a card."""

    title: str
    paragraphs: tuple[str, ...] = ()
    facts: tuple[Fact, ...] = ()
    bullets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Card:
    """A model card."""

    title: str
    summary: str
    sections: tuple[Section, ...]
    license: str = ""
    """The name that the base model's own card gives its licence; empty if it does not say."""


def model_card(
    run: str | Path, *, result: Mapping[str, Any] | None = None, weights: str = "", note: str = "", evaluations: Sequence[str | Path] = ()
) -> Card:
    """The card of the model that a run publishes.

    Args:
        run: its directory; ``config.json`` and ``lineage.json`` are enough.
        result: its final numbers, where ``result.json`` is not written yet.
        weights: which weights these are, where a run publishes several (``the average of its weights``).
        note: what a user must know to load it.
        evaluations: directories with ``eval/*.json`` in which this model took part.

    Raises:
        DataError: a file is not valid JSON.
    """
    place = Path(run)
    written = _read(place / "config.json")
    config, numbers = written.get("config") or {}, dict(result if result is not None else _read(place / "result.json"))
    kind = str(written.get("stage") or "run")
    size = int(numbers.get("parameters") or parameters(place / "model"))
    tree = _tree(place)
    base, license_name, terms = _license(tree)
    sections = [
        Section("Training", facts=(*_settings(kind, config, numbers, weights, size), *([("To load it", note)] if note else []))),
        _made_from(tree),
        _people(kind, tree),
        Section("How well it does", *_results(place, kind, numbers, evaluations)),
        Section("Limits", bullets=limits_of(kind, size)),
        Section("Intended use", (INTENDED,), bullets=NOT_INTENDED),
    ]
    if base or terms:
        sections.append(Section("Licence", (terms or f"The base model {base} does not say under which licence it stands.",)))
    title = _TITLES.get(kind, f"A model of the stage {kind}")
    if kind == "ppo" and config.get("ptx_coef"):
        title += "-ptx"
    return Card(title, _STEPS.get(kind, ""), tuple(one for one in sections if one.paragraphs or one.facts or one.bullets), license_name)


def as_markdown(card: Card) -> str:
    """The card as a README; with the licence's name in front where one is known, as model hubs read it."""
    front = ["---", f"license: {card.license}", "---", ""] if card.license else []
    lines = [*front, f"# {card.title}", "", card.summary, ""]
    for section in card.sections:
        lines += [f"## {section.title}", ""]
        for paragraph in section.paragraphs:
            lines += [paragraph, ""]
        lines += [f"- {name}: {value}" if name else f"- {value}" for name, value in section.facts]
        lines += [f"- {bullet}" for bullet in section.bullets]
        if section.facts or section.bullets:
            lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _read(file: Path) -> dict[str, Any]:
    found = read_json(file) if file.is_file() else {}
    return found if isinstance(found, dict) else {}


def _tree(run: Path) -> Node | None:
    """What the run was made from; a damaged parent leaves the card without its origin, but never a training run without its model."""
    try:
        return lineage(run)
    except (InstructLoopError, OSError, KeyError):
        return None


def _settings(kind: str, config: Mapping[str, Any], result: Mapping[str, Any], weights: str, size: int) -> list[Fact]:
    reward, lora = config.get("reward") or {}, config.get("lora") or {}
    share = float(result.get("pretrain_share") or 0)
    found: list[tuple[str, Any]] = [
        ("Weights", weights),
        ("Parameters", f"{size:,}" if size else ""),
        ("Adapters", f"LoRA of rank {lora['rank']}" if lora.get("rank") else ""),
    ]
    if kind == "pretrain":
        found += [("Started from", Path(str(config["init"])).name if config.get("init") else "random weights")]
        found += [("Tokens seen", f"{result['tokens_seen']:,}" if result.get("tokens_seen") else "")]
    if kind == "sft":
        found += [("Demonstrations", _count(result.get("demonstrations"))), ("Epochs", config.get("epochs"))]
        found += [("Pretraining text in the mix", f"{share:.0%} of the sequences" if share else "")]
        found += [("Selected by", str(result.get("selected_by") or config.get("select_by") or "").replace("_", " "))]
    if kind == "rm":
        found += [
            ("Ranked prompts", _count(result.get("prompts"))),
            ("Pairs", _count(result.get("pairs"))),
            ("Epochs", config.get("epochs")),
        ]
        found += [("Zero of the score", f"the mean of {result['normalized_on']}" if result.get("normalized_on") else "")]
        found += [("Read at", "the last token of prompt and answer, the end token included")]
    if kind == "ppo":
        found += [
            ("Reward", str(reward.get("name") or "")),
            ("KL penalty beta", config.get("beta")),
            ("Episodes", _count(result.get("episodes"))),
        ]
        found += [("Weight of the pretraining text", config.get("ptx_coef") or ""), ("Ended early", result.get("ended_early") or "")]
    found += [("Useful operations", f"{result['flops']:.3g}" if result.get("flops") else ""), ("Seed", config.get("seed"))]
    return [(name, str(value)) for name, value in found if value not in ("", None)]


def _count(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else ""


def _made_from(tree: Node | None) -> Section:
    """Every input of the run, then what those came from, each thing once and without anybody's folders."""
    if tree is None or not tree.parents:
        return Section("")
    seen: set[tuple[str, str]] = set()
    facts = []
    for depth, node in tree.walk():
        if depth == 0:
            continue
        digits = (node.sha256 or "").removeprefix("sha256:")[:12]
        name = node.path.parent.name if node.path.name == "model" else node.path.name
        if (name, digits) in seen:
            continue
        seen.add((name, digits))
        origin = f", made by the stage {node.stage}" if node.stage and "snapshot" not in node.stage else ""
        facts.append((node.role.replace("_", " "), f"{name}{f' `{digits}`' if digits else ', not hashed'}{origin}"))
    note = "First digits of the sha256; `instructloop verify` hashes the whole chain again."
    return Section("Made from", (note,), facts=tuple(facts))


def _people(kind: str, tree: Node | None) -> Section:
    """Whose judgement is in the model: labelers by number alone, pools, agreement, consent (spec L1)."""
    manifests = list(_snapshots(tree)) if tree is not None else []
    facts: list[Fact] = []
    for path, manifest in manifests:
        labelers = [one for one in manifest.get("labelers", ()) if isinstance(one, Mapping)]
        kinds: dict[str, int] = {}
        for one in labelers:
            who = f"{one.get('cohort', '')} {one.get('kind', '')}".strip()
            kinds[who] = kinds.get(who, 0) + 1
        answers = sum(int(one.get("answers") or 0) for one in labelers)
        told = ", ".join(f"{count} {who}" for who, count in kinds.items())
        facts.append(("Labelers", f"{len(labelers)} under pseudonymous codes ({told}), {answers:,} answers"))
        chosen, rules = manifest.get("selection") or {}, manifest.get("rules") or {}
        facts += [("Prompts from", ", ".join(map(str, chosen["prompt_sources"])))] if chosen.get("prompt_sources") else []
        facts += [(f"Rule: {name.replace('_', ' ')}", str(rules[name])) for name in ("consent", "personal_data") if rules.get(name)]
        facts += [("Guideline", f"{one.get('title', '')} ({one.get('guideline', '')})") for one in manifest.get("guidelines", ())]
        if agreement := _from_data_card(path, "How much they agree"):
            facts.append(("Agreement", agreement))
    paragraphs = [PEOPLE]
    if any("simulated" in str(one.get("kind")) for _, manifest in manifests for one in manifest.get("labelers", ())):
        paragraphs.append("The labelers were simulated: a program stood in for people, so nobody's wishes are in this model.")
    if not manifests and kind != "pretrain":
        paragraphs.append("Its data were files without a record of who labeled: whose wishes these are must be told by whoever gave them.")
    return Section("Whom it is aligned to", tuple(paragraphs), facts=tuple(dict.fromkeys(facts))) if kind != "pretrain" else Section("")


def _snapshots(tree: Node) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    seen = set()
    for _, node in tree.walk():
        place = node.path if (node.path / "manifest.json").is_file() else node.path.parent
        if node.stage and "snapshot" in node.stage and place not in seen and (place / "manifest.json").is_file():
            seen.add(place)
            yield place, snapshot_manifest(place)


def _from_data_card(snapshot: Path, title: str) -> str:
    """The text below a heading of the snapshot's data card, as one line; tables are left to the card itself."""
    file = snapshot / "data-card.md"
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    _, found, rest = text.partition(f"## {title}\n")
    lines = [line.strip() for line in rest.partition("\n## ")[0].splitlines()] if found else []
    plain = [line for line in lines if line and not line.startswith("|")]
    return " ".join(plain) or ("in the data card of the snapshot" if lines else "")


def _results(
    run: Path, kind: str, result: Mapping[str, Any], evaluations: Sequence[str | Path]
) -> tuple[tuple[str, ...], tuple[Fact, ...]]:
    facts = result_facts(run, kind, result, [Path(one) for one in evaluations])
    if facts:
        return ("Brackets are 95 % intervals; n counts observations.",), facts
    return ("It has not been evaluated yet: `instructloop evaluate`, then `instructloop card RUN --evaluation DIR`.",), ()


def _license(tree: Node | None) -> tuple[str, str, str]:
    """(base model, the licence's name for hubs, a sentence), as far as the base's own directory tells."""
    bases = (
        [node for _, node in tree.walk() if node.path.is_dir() and not node.parents and (node.path / "config.json").is_file()]
        if tree
        else []
    )
    for node in bases:
        if node.stage:  # a run of ours that began from nothing
            continue
        name = node.path.parent.name if node.path.name == "model" else node.path.name
        given = _front_matter(node.path / "README.md").get("license", "")
        file = next((one for one in _LICENSE_FILES if (node.path / one).is_file()), "")
        if given or file:
            where = f"its card says {given}" if given else f"its directory holds {file}"
            return name, given, f"The base model {name} brings its own terms ({where}); they hold for this model too."
        return name, "", ""
    return "", "", ""


def _front_matter(file: Path) -> dict[str, str]:
    """Plain ``key: value`` lines between the first two ``---`` of a card."""
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()[:60] if file.is_file() else []
    if not lines or lines[0].strip() != "---":
        return {}
    found: dict[str, str] = {}
    for line in lines[1:]:
        if line.strip() == "---":
            return found
        key, sign, value = line.partition(":")
        if sign and not key.startswith((" ", "-")):
            found[key.strip()] = value.strip().strip("\"'")
    return {}
