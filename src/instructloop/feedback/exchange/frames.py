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
from instructloop.feedback.exchange.gather import NAMED_MODEL
from instructloop.feedback.exchange.incoming import Incoming, Lineage, OutputLineage
from instructloop.feedback.exchange.ledger import Ledger
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

    def __init__(self, session: Session, defaults: Defaults, ledger: Ledger) -> None:
        """Begin with what the ledger found."""
        self.session = session
        self.ledger = ledger
        self.defaults = defaults
        self.counts = Counts()
        self._labelers: dict[str, table.Labeler] = {}
        self._queues: dict[tuple[str, str], str] = {}
        self._guidelines: dict[str, str] = {}
        self._checkpoints: dict[str, str] = {}
        self._entered: dict[str, dict[str, Any]] = {}
        self._shown = set(ledger.completions)

    def prompt(self, row: Incoming) -> str:
        """The row's prompt: the one with the same content, or a new one under the row's identifier."""
        lineage, ledger = row.lineage, self.ledger
        sha = records.prompt_sha256(row.prompt)
        if lineage.prompt_id is not None and ledger.contents.get(lineage.prompt_id, sha) != sha:
            raise RowProblemError(
                "prompt_id", f"{lineage.prompt_id!r} is another prompt in the store", hint="the identifiers were mixed up"
            )
        if sha in ledger.prompts:
            self._keep_beside(ledger.prompts[sha], lineage)
            return str(ledger.prompts[sha])
        content, prefix = records.nfc(row.prompt), ledger.prefix(row)
        # relatives get one owner, so that no prefix spans two splits
        owner = lineage.owner or self.defaults.pseudonym("owner", f"{self.defaults.tool} {prefix}")
        split = self._split(
            owner, lineage.split or ledger.owner_split(owner) or ledger.prefixes.get(prefix) or self.defaults.split_of(owner)
        )
        status, report, language = ("unchecked", {}, None) if lineage.pii_status else self.defaults.judge(content)
        messages = prompt_json(content)
        entered = ledger.enter(
            table.PromptRow,
            id=lineage.prompt_id or new_id(),
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
        self._entered[entered["id"]] = entered
        ledger.prompts[sha], ledger.contents[entered["id"]], ledger.prefixes[prefix] = entered["id"], sha, split
        self.counts.prompts += 1
        return str(entered["id"])

    def _split(self, owner: str, split: str) -> str:
        settled = self.ledger.owner_split(owner)
        if settled is None:
            self.ledger.enter(table.PromptOwner, owner_hash=owner, split=split)
            self.ledger.owners[owner] = split
        elif settled != split:
            raise RowProblemError(
                "split", f"is {split!r}, but other prompts of this owner lie in {settled!r}", hint="splits are by owner (spec A5)"
            )
        return split

    def _keep_beside(self, prompt_id: str, lineage: Lineage) -> None:
        """Another tool's fields about a prompt that is here already."""
        if not lineage.prompt_meta or lineage.prompt_id is not None:
            return
        entered = self._entered.get(prompt_id)
        meta = entered["meta"] if entered else self.session.get_one(table.PromptRow, prompt_id).meta
        kept = meta.get(IMPORTED, [])
        if lineage.prompt_meta in kept:
            return
        changed = {**meta, IMPORTED: [*kept, lineage.prompt_meta]}
        if entered:
            entered["meta"] = changed
        else:
            self.session.get_one(table.PromptRow, prompt_id).meta = changed

    @staticmethod
    def _about(lineage: Lineage) -> dict[str, Any]:
        """What is kept beside a prompt that came without an identifier."""
        return {"token_rule": ESTIMATE.rule, **({IMPORTED: [lineage.prompt_meta]} if lineage.prompt_meta else {})}

    def _consent(self, lineage: Lineage) -> str | None:
        """The consent a row names; one that is not here is entered under its own identifier, version and scope."""
        key = lineage.consent_id
        if key is not None and key not in self.ledger.consents:
            self.ledger.enter(table.Consent, id=key, text_version=lineage.consent_version, scope=lineage.consent_scope)
            self.ledger.consents.add(key)
        return key

    def labeler(self, row: Incoming) -> table.Labeler:
        """Who answered."""
        return self.person(self.code(row), row.lineage.cohort or self.defaults.cohort, row.lineage.labeler_kind)

    def code(self, row: Incoming) -> str:
        """The row's code, or a pseudonym of another tool's name for the person."""
        if row.lineage.labeler is not None or row.who is None:
            return row.lineage.labeler or self.defaults.labeler
        tool = self.defaults.tool
        return f"{tool}-{self.defaults.pseudonym('labeler', f'{tool} {row.who}').removeprefix('sha256:')[:10]}"

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
        for slot, (name, text) in enumerate(zip(ids, row.completions, strict=True)):
            clean = records.nfc(text)
            assert isinstance(clean, str)
            content = (hash_bytes(clean.encode()), prompt_id)
            if self.ledger.completions.setdefault(name, content) != content:
                raise RowProblemError(
                    f"completion_ids[{slot}]", f"{name!r} is another completion in the store", hint="the identifiers were mixed up"
                )
            if name not in self._shown:
                self._completion(row, slot, name, clean, prompt_id)
                self._shown.add(name)
        return tuple(ids)

    def _completion(self, row: Incoming, slot: int, name: str, text: str, prompt_id: str) -> None:
        about = row.lineage.outputs[slot] if row.lineage.outputs else OutputLineage()
        model = row.lineage.models[slot] if row.lineage.models else None
        weights = self._weights(about, model)
        self.ledger.enter(
            table.CompletionRow,
            id=name,
            prompt_id=prompt_id,
            checkpoint_id=weights,
            text=text,
            sha256=hash_bytes(text.encode()),
            origin=about.origin,
            sampling=about.sampling,
            sampling_sha256=hash_json(about.sampling) if about.sampling and weights else None,
            template=about.template,
            draw=about.draw,
            finish_reason=about.finish_reason,
            tokens=about.tokens,
            meta=about.meta if weights or model is None else {**about.meta, NAMED_MODEL: model},
        )
        self.counts.completions += 1

    def _weights(self, about: OutputLineage, model: str | None) -> str | None:
        """The checkpoint that made a completion, by the hash of its weights."""
        if about.checkpoint is None:
            return None
        if about.checkpoint not in self._checkpoints:
            self._checkpoints[about.checkpoint] = records.add_checkpoint(
                self.session, model=model or "unnamed", path_or_sha=about.checkpoint, stage=about.stage or "other", run=about.run
            )
        return self._checkpoints[about.checkpoint]
