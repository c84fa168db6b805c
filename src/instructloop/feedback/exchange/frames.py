"""What an imported answer stands on: its prompt, labeler, guidelines, queue and completions, found in the store or entered.

Identifiers in a row are kept; rows without any get fresh ones.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from sqlalchemy import select
from sqlalchemy.orm import Session

from instructloop.core.hashing import hash_bytes, hash_json
from instructloop.core.records import PromptContent, prompt_json, prompt_text
from instructloop.feedback import labelers, records
from instructloop.feedback import schema as table
from instructloop.feedback.database import insert_if_new
from instructloop.feedback.exchange.gather import NAMED_MODEL
from instructloop.feedback.exchange.incoming import Incoming, Lineage, OutputLineage
from instructloop.feedback.ids import new_id, now_ms
from instructloop.feedback.prompts.lengths import ESTIMATE
from instructloop.formats.loaded import RowProblemError

IMPORTED = "imported"


class Judge(Protocol):
    """What is found out about a prompt that is new and says nothing of itself."""

    def __call__(self, content: PromptContent) -> tuple[str, Mapping[str, Any], str | None]:
        """(pii_status, pii_report, language)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Defaults:
    """What holds for rows that do not say otherwise."""

    tool: str
    file: str
    labeler: str
    """Code."""
    cohort: str
    source: str
    queue: str
    """Prefix of the queues that are made."""
    pseudonym: Any
    """``Project.pseudonym``."""
    split_of: Any
    """Owner hash to split."""
    judge: Judge


@dataclass(slots=True)
class Counts:
    """What an import did."""

    submissions: int = 0
    known: int = 0
    """Answers that were in the store already."""
    prompts: int = 0
    completions: int = 0
    labelers: int = 0
    kinds: Counter[str] = field(default_factory=Counter)


class Frames:
    """Finds or enters what answers stand on, inside an open transaction."""

    def __init__(self, session: Session, defaults: Defaults) -> None:
        """Begin with nothing seen."""
        self.session = session
        self.defaults = defaults
        self.counts = Counts()
        self._labelers: dict[str, table.Labeler] = {}
        self._queues: dict[tuple[str, str], str] = {}
        self._guidelines: dict[str, str] = {}
        self._checkpoints: dict[str, str] = {}
        self._prefix: int | None = None

    def prompt(self, row: Incoming) -> str:
        """The row's prompt: the one with the same content, or a new one under the row's identifier."""
        lineage = row.lineage
        sha = records.prompt_sha256(row.prompt)
        if lineage.prompt_id is not None:
            there = self.session.get(table.PromptRow, lineage.prompt_id)
            if there is not None and there.sha256 != sha:
                raise RowProblemError(
                    "prompt_id", f"{lineage.prompt_id!r} is another prompt in the store", hint="the identifiers were mixed up"
                )
        known = self.session.scalars(select(table.PromptRow).where(table.PromptRow.sha256 == sha)).one_or_none()
        if known is not None:
            if lineage.prompt_meta and lineage.prompt_id is None:
                kept = known.meta.get(IMPORTED, [])
                if lineage.prompt_meta not in kept:
                    known.meta = {**known.meta, IMPORTED: [*kept, lineage.prompt_meta]}
            return known.id
        content = records.nfc(row.prompt)
        prefix = records.prefix_key(content, self._prefix_characters())
        # relatives get one owner, so that no prefix spans two splits
        owner = lineage.owner or self.defaults.pseudonym("owner", f"{self.defaults.tool} {prefix}")
        settled = self.session.scalar(select(table.PromptOwner.split).where(table.PromptOwner.owner_hash == owner))
        relatives = select(table.PromptRow.split).where(table.PromptRow.prefix_key == prefix).limit(1)
        split = lineage.split or settled or self.session.scalar(relatives) or self.defaults.split_of(owner)
        if settled not in (None, split):
            raise RowProblemError(
                "split", f"is {split!r}, but other prompts of this owner lie in {settled!r}", hint="splits are by owner (spec A5)"
            )
        insert_if_new(self.session, table.PromptOwner, {"owner_hash": owner, "split": split}, on=("owner_hash",))
        status, report, language = ("unchecked", {}, lineage.language) if lineage.pii_status else self.defaults.judge(content)
        messages = prompt_json(content)
        prompt_id = lineage.prompt_id or new_id()
        self.session.add(
            table.PromptRow(
                id=prompt_id,
                text=prompt_text(content),
                messages=None if isinstance(messages, str) else messages,
                sha256=sha,
                prefix_key=prefix,
                source=lineage.source or self.defaults.source,
                kind=lineage.prompt_kind,
                owner_hash=owner,
                split=split,
                language=lineage.language or language,
                use_case=lineage.use_case,
                tokens=lineage.prompt_tokens if lineage.prompt_id else ESTIMATE.count(prompt_text(content)),
                pii_status=lineage.pii_status or status,
                pii_report=dict(report),
                consent_id=self._consent(lineage),
                licence=lineage.licence,
                meta=dict(lineage.prompt_meta) if lineage.prompt_id else self._about(lineage),
                created_at=lineage.created_at or now_ms(),
            )
        )
        self.session.flush()
        self.counts.prompts += 1
        return prompt_id

    @staticmethod
    def _about(lineage: Lineage) -> dict[str, Any]:
        """What is kept beside a prompt that came without an identifier."""
        return {"token_rule": ESTIMATE.rule, **({IMPORTED: [lineage.prompt_meta]} if lineage.prompt_meta else {})}

    def _prefix_characters(self) -> int:
        """How many characters make relatives in this store; the prompt pipeline may have set it."""
        if self._prefix is None:
            rules = self.session.scalar(select(table.Setting.value).where(table.Setting.key == "prompt_rules")) or {}
            self._prefix = int(rules.get("prefix_chars", records.PREFIX_CHARACTERS))
        return self._prefix

    def _consent(self, lineage: Lineage) -> str | None:
        """The consent a row names; one that is not here is entered under its own identifier, version and scope."""
        if lineage.consent_id is None:
            return None
        if self.session.get(table.Consent, lineage.consent_id) is None:
            agreed = table.Consent(id=lineage.consent_id, text_version=lineage.consent_version, scope=lineage.consent_scope)
            self.session.add(agreed)
            self.session.flush()
        return lineage.consent_id

    def labeler(self, row: Incoming) -> table.Labeler:
        """Who answered: by the row's code, or under a pseudonym of another tool's name for them."""
        lineage = row.lineage
        code = lineage.labeler
        if code is None and row.who is not None:
            code = (
                f"{self.defaults.tool}-{self.defaults.pseudonym('labeler', f'{self.defaults.tool} {row.who}').removeprefix('sha256:')[:10]}"
            )
        code = code or self.defaults.labeler
        return self.person(code, lineage.cohort or self.defaults.cohort, lineage.labeler_kind)

    def person(self, code: str, cohort: str, kind: str) -> table.Labeler:
        """A labeler by code; who is here under that code in another cohort is somebody else."""
        if code not in self._labelers:
            there = self.session.scalars(select(table.Labeler).where(table.Labeler.code == code)).one_or_none()
            if there is None:
                there = labelers.add_labeler(self.session, kind=kind, cohort=cohort, code=code, state="retired")
                self.counts.labelers += 1
            self._labelers[code] = there
        found = self._labelers[code]
        if (found.cohort, found.kind) != (cohort, kind):
            raise RowProblemError(
                "labeler",
                f"{code!r} is here a {found.kind} of the cohort {found.cohort}, the row says {kind}, {cohort}",
                hint="use another code",
            )
        return found

    def guideline(self, lineage: Lineage) -> str:
        """The version of the guidelines that was in force; one that is not here is entered without its text."""
        name, _, version = (lineage.guideline or f"{IMPORTED}@1").rpartition("@")
        key = f"{name}@{int(version)}"
        if key not in self._guidelines:
            there = select(table.Guideline.id).where(table.Guideline.name == name, table.Guideline.version == int(version))
            found = self.session.scalar(there)
            if found is None:
                text = "The answers under this version were imported; its text did not come with them.\n"
                row = table.Guideline(
                    id=new_id(), name=name, version=int(version), mode=lineage.guideline_mode, title="Imported answers", body=text
                )
                self.session.add(row)
                self.session.flush()
                found = row.id
            self._guidelines[key] = found
        return self._guidelines[key]

    def queue(self, row: Incoming, guideline_id: str) -> str:
        """The queue of the row's kind; imported ones are closed."""
        lineage = row.lineage
        name = lineage.queue or f"{self.defaults.queue} {row.kind}"
        if (name, row.kind) not in self._queues:
            there = self.session.scalars(select(table.Queue).where(table.Queue.name == name)).one_or_none()
            if there is not None and there.kind != row.kind:
                raise RowProblemError(
                    "queue", f"{name!r} holds {there.kind} tasks here, the row is {row.kind}", hint="name another queue: --queue NAME"
                )
            if there is None:
                there = table.Queue(
                    id=new_id(),
                    name=name,
                    kind=row.kind,
                    guideline_id=guideline_id,
                    gold_rate=0.0,
                    extra_overlap_fraction=0.0,
                    cohorts=[],
                    settings={},
                    state="closed",
                    evaluation_id=self._evaluation(lineage),
                )
                self.session.add(there)
                self.session.flush()
            self._queues[name, row.kind] = there.id
        return self._queues[name, row.kind]

    def _evaluation(self, lineage: Lineage) -> str | None:
        if lineage.evaluation is None:
            return None
        found = self.session.scalar(select(table.Evaluation.id).where(table.Evaluation.name == lineage.evaluation))
        if found is None:
            row = table.Evaluation(id=new_id(), name=lineage.evaluation, plan={IMPORTED: True}, seed=0)
            self.session.add(row)
            self.session.flush()
            found = row.id
        return found

    def completions(self, row: Incoming, prompt_id: str) -> tuple[str, ...]:
        """The completions that were shown, by slot."""
        ids = row.lineage.completion_ids or [new_id() for _ in row.completions]
        there = records.completions_of(self.session, ids) if row.lineage.completion_ids else {}
        for slot, (name, text) in enumerate(zip(ids, row.completions, strict=True)):
            fresh = self._completion(row, slot, name, text, prompt_id)
            known = there.get(name)
            if known is None:
                self.session.add(fresh)
                self.counts.completions += 1
            elif (known.sha256, known.prompt_id) != (fresh.sha256, prompt_id):
                raise RowProblemError(
                    f"completion_ids[{slot}]", f"{name!r} is another completion in the store", hint="the identifiers were mixed up"
                )
        self.session.flush()
        return tuple(ids)

    def _completion(self, row: Incoming, slot: int, name: str, text: str, prompt_id: str) -> table.CompletionRow:
        about = row.lineage.outputs[slot] if row.lineage.outputs else OutputLineage()
        model = row.lineage.models[slot] if row.lineage.models else None
        clean = records.nfc(text)
        assert isinstance(clean, str)
        weights = self._weights(about, model)
        return table.CompletionRow(
            id=name,
            prompt_id=prompt_id,
            checkpoint_id=weights,
            text=clean,
            sha256=hash_bytes(clean.encode()),
            origin=about.origin,
            sampling=about.sampling,
            sampling_sha256=hash_json(about.sampling) if about.sampling and weights else None,
            template=about.template,
            draw=about.draw,
            finish_reason=about.finish_reason,
            tokens=about.tokens,
            meta=about.meta if weights or model is None else {**about.meta, NAMED_MODEL: model},
        )

    def _weights(self, about: OutputLineage, model: str | None) -> str | None:
        """The checkpoint that made a completion, by the hash of its weights."""
        if about.checkpoint is None:
            return None
        if about.checkpoint not in self._checkpoints:
            self._checkpoints[about.checkpoint] = records.add_checkpoint(
                self.session, model=model or "unnamed", path_or_sha=about.checkpoint, stage=about.stage or "other", run=about.run
            )
        return self._checkpoints[about.checkpoint]
