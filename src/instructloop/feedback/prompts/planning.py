"""What an import would do, decided without touching the database: which prompts are new, relatives of known ones, personal.

Order of the sieve: known already (the same bytes, or the same after composing Unicode); personal data (spec A6); the same but for case
and white space; a long common beginning (spec A3); nearly the same. Whoever came first stays. Examples of one few-shot template share
their instruction on purpose and do not count as relatives of each other (spec A8).
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from instructloop.core.errors import ConfigError
from instructloop.core.hashing import hash_json
from instructloop.core.records import Message, PromptContent, prompt_json, prompt_text
from instructloop.feedback.prompts import pii
from instructloop.feedback.prompts.duplicates import NEAR_SIMILARITY, NearIndex, exact_key
from instructloop.feedback.prompts.fewshot import FewshotTemplate, expand, sample_sets
from instructloop.feedback.prompts.language import identify
from instructloop.feedback.prompts.lengths import ESTIMATE, TRAINING_LIMIT_TOKENS, TokenCounter
from instructloop.feedback.prompts.reading import PlacedPrompt
from instructloop.feedback.prompts.rows import PromptInput
from instructloop.feedback.records import PREFIX_CHARACTERS, nfc, prefix_key, prompt_sha256

_MOST_ROUNDS = 10
Relation = Literal["known", "exact", "prefix", "near"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportRules:
    """How an import decides; the numbers of the sieve are ours, the paper gives none."""

    prefix_chars: int = PREFIX_CHARACTERS
    """Prompts that share their first so many characters are relatives (spec A3)."""
    near_similarity: float = NEAR_SIMILARITY
    """Jaccard similarity of word 3-grams from which prompts are nearly the same; 0 keeps near duplicates."""
    personal: Literal["quarantine", "redact"] = "quarantine"
    """Prompts with personal data are set aside for a person to look at, or stored with it blacked out."""
    regions: tuple[str, ...] = pii.DEFAULT_REGIONS
    """Countries whose phone numbers are known without a country code."""
    types: tuple[str, ...] = pii.DEFAULT_TYPES
    """Kinds of personal data looked for."""
    names: pii.Finder | None = None
    """A finder of people's names (``pii_names.spacy_names``); None looks for none."""
    fewshot_sets: int = 0
    """Further examples a few-shot template gives, with other choices of what is shown (spec A8)."""
    fewshot_shots: int = 2
    """How many pairs such a further example shows."""
    counter: TokenCounter = ESTIMATE
    """How tokens are counted."""
    seed: int = 0
    """Base of the draws of few-shot sets."""

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            ConfigError: a value out of range.
        """
        if self.prefix_chars < 1:
            raise ConfigError(f"prefix_chars must be at least 1, got {self.prefix_chars}", hint=f"ours is {PREFIX_CHARACTERS}")
        if not 0 <= self.near_similarity < 1:
            raise ConfigError(f"near_similarity must be in [0, 1), got {self.near_similarity}", hint="ours is 0.8; 0 turns it off")
        if self.fewshot_sets < 0 or self.fewshot_shots < 1:
            raise ConfigError("fewshot_sets must be at least 0 and fewshot_shots at least 1")


class KnownPrompt(NamedTuple):
    """A prompt that is in the store."""

    id: str
    content: PromptContent | None
    """None after an erasure: its hashes go on counting."""
    sha256: str
    original_sha256: str | None
    prefix_key: str
    template: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class NewPrompt:
    """A prompt to be stored."""

    content: PromptContent
    sha256: str
    original_sha256: str
    prefix_key: str
    row: PromptInput
    owner: str
    """The owner in clear; only its hash is stored."""
    language: str
    tokens: int
    pii_status: str
    pii_report: Mapping[str, Any]
    meta: Mapping[str, Any]
    response: str | None = None
    """What the labeler wrote for it (few-shot examples)."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to store, and what became of everything else."""

    new: tuple[NewPrompt, ...]
    rows: int
    """Rows of the file."""
    prompts: int
    """Prompts they gave: few-shot templates give several."""
    dropped: Mapping[str, int]
    """Prompts left out, by their relation to one that stays: known, exact, prefix, near."""
    personal: Mapping[str, int]
    """Kinds of personal data found in new prompts, by prompts that hold it."""

    @property
    def over_length(self) -> int:
        """New prompts too long for training; they are stored all the same (spec A7)."""
        return sum(prompt.tokens > TRAINING_LIMIT_TOKENS for prompt in self.new)

    @property
    def languages(self) -> dict[str, int]:
        """New prompts by language, most frequent first."""
        return dict(Counter(prompt.language for prompt in self.new).most_common())


@dataclass(slots=True)
class _Seen:
    """Keys of everything that stays, with the few-shot template it comes from (None for others)."""

    rules: ImportRules
    hashes: set[str] = field(default_factory=set)
    exact: dict[str, str | None] = field(default_factory=dict)
    prefixes: dict[str, str | None] = field(default_factory=dict)
    near: NearIndex | None = None
    templates: dict[str, str | None] = field(default_factory=dict)

    def remember(self, key: str, hashes: Iterable[str], prefix: str, content: PromptContent | None, template: str | None) -> None:
        self.hashes.update(hashes)
        self.prefixes.setdefault(prefix, template)
        if content is not None:
            self.exact.setdefault(exact_key(content), template)
            if self.near is not None:
                self.near.add(key, content)
                self.templates[key] = template

    def relation(self, hashes: Iterable[str], prefix: str, content: PromptContent, template: str | None) -> Relation | None:
        if any(item in self.hashes for item in hashes):
            return "known"
        if exact_key(content) in self.exact:
            return "exact"
        if prefix in self.prefixes and (template is None or self.prefixes[prefix] != template):
            return "prefix"
        if self.near is not None and self.near.find(content, ignore=lambda key: template is not None and self.templates[key] == template):
            return "near"
        return None


def plan_import(placed: Sequence[PlacedPrompt], known: Iterable[KnownPrompt], rules: ImportRules | None = None) -> Plan:
    """Decide about every prompt of a file.

    Args:
        placed: the checked rows, in file order.
        known: all prompts of the store.
        rules: see :class:`ImportRules`.

    Raises:
        MissingExtraError: a detector's package is not installed.
    """
    rules = rules or ImportRules()
    seen = _Seen(rules, near=NearIndex(rules.near_similarity) if rules.near_similarity else None)
    in_store: set[str] = set()
    for old in known:
        hashes = [old.sha256, *([old.original_sha256] if old.original_sha256 else [])]
        in_store.update(hashes)
        seen.remember(old.id, hashes, old.prefix_key, old.content, old.template)
    new: list[NewPrompt] = []
    dropped: Counter[str] = Counter({"known": 0, "exact": 0, "prefix": 0, "near": 0})
    personal: Counter[str] = Counter()
    prompts = 0
    for place in placed:
        for content, meta, response in _prompts(place.row, rules):
            prompts += 1
            prompt = _examined(place.row, content, meta, response, rules)
            template = (meta.get("fewshot") or {}).get("template")
            hashes = [prompt.original_sha256, prompt.sha256]
            relation = seen.relation(hashes, prompt.prefix_key, prompt.content, template)
            if relation is not None:
                # the same bytes twice in one file are duplicates; only what the store held before is "known"
                dropped["exact" if relation == "known" and not in_store.intersection(hashes) else relation] += 1
                continue
            seen.remember(f"new {len(new)}", hashes, prompt.prefix_key, prompt.content, template)
            personal.update({str(span["type"]) for span in prompt.pii_report.get("spans", [])})
            new.append(prompt)
    return Plan(tuple(new), len(placed), prompts, dict(dropped), dict(personal.most_common()))


def _prompts(row: PromptInput, rules: ImportRules) -> list[tuple[PromptContent, dict[str, Any], str | None]]:
    if not isinstance(row.content, FewshotTemplate):
        return [(row.content, {}, None)]
    examples = expand(row.content)
    shots = min(rules.fewshot_shots, len(row.content.pairs) - 1)
    shown = {(item.prompt, item.completion) for item in examples}
    if rules.fewshot_sets:
        further = sample_sets(row.content, rules.fewshot_sets, shots=shots, seed=rules.seed)
        examples += [item for item in further if (item.prompt, item.completion) not in shown]
    return [(item.prompt, dict(item.meta), item.completion) for item in examples]


def _examined(row: PromptInput, content: PromptContent, meta: Mapping[str, Any], response: str | None, rules: ImportRules) -> NewPrompt:
    original, content = hash_json(prompt_json(content)), nfc(content)
    # a few-shot response goes into training as the prompt does, so it is looked through as well
    parts = [*_parts(content), *([response] if response else [])]
    spans = [{**span, "part": place} for place, part in enumerate(parts) for span in pii.summary(_find(part, rules))]
    status, report = "clean", {}
    if spans:
        status, report = "quarantined", {"by": "rules", "spans": spans}
        if rules.personal == "redact":
            status, content = "redacted", nfc(redacted(content, rules))
            response = response and _blacked_out(response, rules)
    text = prompt_text(content)
    further = {"id": row.external_id} if row.external_id else {}
    return NewPrompt(
        content=content,
        sha256=prompt_sha256(content),
        original_sha256=original,
        prefix_key=prefix_key(content, rules.prefix_chars),
        row=row,
        # where nobody is named the prompt is its own owner, so that copies of it share a split
        owner=row.owner or f"prompt {exact_key(content)}",
        language=identify(text).code,
        tokens=rules.counter.count(text),
        pii_status=status,
        pii_report=report,
        meta={**row.meta, **meta, **further, "token_rule": rules.counter.rule},
        response=response,
    )


def _find(text: str, rules: ImportRules) -> list[pii.PiiSpan]:
    return pii.find_pii(text, types=rules.types, regions=rules.regions, further=(rules.names,) if rules.names else ())


def _parts(content: PromptContent) -> list[str]:
    return [content] if isinstance(content, str) else [message.content for message in content]


def redacted(content: PromptContent, rules: ImportRules | None = None) -> PromptContent:
    """The prompt with all personal data blacked out, message by message."""
    rules = rules or ImportRules()
    if isinstance(content, str):
        return _blacked_out(content, rules)
    return tuple(Message(message.role, _blacked_out(message.content, rules)) for message in content)


def _blacked_out(text: str, rules: ImportRules) -> str:
    """Redacted until nothing is found: what overlapped a number that is gone may be found only now.

    The rounds are bounded because a model of names may take ``[NAME]`` for one.
    """
    for _ in range(_MOST_ROUNDS):
        spans = _find(text, rules)
        if not spans:
            break
        text = pii.redact(text, spans)
    return text
