"""Into the store: files of our own layouts or of other tools, all of a file or nothing of it.

Everything is read and checked before the one transaction that stores it; what can only be seen there (an identifier that is taken, a
labeler of another cohort) takes the whole transaction back. Imported answers are complete: submitted, by labelers without accounts,
with tool, file and line in their ``origin``.
"""

import gzip
import json
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from instructloop.core.errors import ConfigError, DataError, MissingExtraError
from instructloop.core.hashing import hash_file
from instructloop.core.records import Prompt, PromptContent, Rating
from instructloop.feedback import audit
from instructloop.feedback.database import Database
from instructloop.feedback.exchange.export import MANIFEST
from instructloop.feedback.exchange.frames import Counts, Defaults, Judge
from instructloop.feedback.exchange.incoming import Incoming, foreign_row, own_row
from instructloop.feedback.exchange.rows import KINDS, PRIMARY
from instructloop.feedback.exchange.texts import check_cell
from instructloop.feedback.exchange.writing import Writer
from instructloop.feedback.project import Project
from instructloop.feedback.prompts.owners import split_of
from instructloop.feedback.records import nfc, prompt_sha256
from instructloop.feedback.schema import PromptRow
from instructloop.feedback.schema.people import COHORTS
from instructloop.feedback.schema.prompts import SOURCES
from instructloop.formats import Imported, Names, read_alpaca_eval, read_argilla, read_hh, read_label_studio, read_oasst
from instructloop.formats.foreign import Placed, Source
from instructloop.formats.loaded import RowProblemError, Skip
from instructloop.formats.rows import find_rows, layout_of

MOST_FILE_BYTES = 200_000_000
OWN = "instructloop"
TOOLS = ("instructloop", "argilla", "label-studio", "hh", "alpaca-eval", "oasst")
_CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_Read = Callable[[Source, Names, bool], Imported]
_READERS: Mapping[str, _Read] = {
    "argilla": lambda source, names, lenient: read_argilla(source, names=names, skip_bad_rows=lenient),
    "label-studio": lambda source, names, lenient: read_label_studio(source, names=names, skip_bad_rows=lenient),
    "hh": lambda source, _names, lenient: read_hh(source, skip_bad_rows=lenient),
    "alpaca-eval": lambda source, _names, lenient: read_alpaca_eval(source, skip_bad_rows=lenient),
    "oasst": lambda source, _names, lenient: read_oasst(source, skip_bad_rows=lenient),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportOptions:
    """What a person says about a file."""

    tool: str = OWN
    """One of ``TOOLS``."""
    labeler: str = ""
    """Code for answers that name nobody; empty takes the tool's name."""
    cohort: str = "training"
    """Cohort of labelers who are new here."""
    source: str = "dataset"
    """Source of prompts that name none."""
    queue: str = ""
    """Beginning of the names of the queues that are made; empty takes ``import`` and the tool."""
    names: Mapping[str, str] | None = None
    """See the readers: ``{"prompt": "instruction"}``; ``ratings`` = ``1-7`` or ``keep``."""
    skip_bad_rows: bool = False
    """Leave bad rows out and list them; what contradicts the store or another row still stops the import."""

    def __post_init__(self) -> None:
        """Check the words.

        Raises:
            ConfigError: an unknown tool, cohort or source, or a code with other signs.
        """
        for name, value, known in (("from", self.tool, TOOLS), ("cohort", self.cohort, COHORTS), ("source", self.source, SOURCES)):
            if value not in known:
                raise ConfigError(f"--{name}: {value!r} is unknown", hint=f"known: {', '.join(known)}")
        if self.labeler and not _CODE.fullmatch(self.labeler):
            raise ConfigError(
                f"--labeler: {self.labeler!r} is no code", hint="letters, digits, '.', '_' and '-', no names and no addresses"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportReport:
    """What an import did."""

    counts: Counts
    rows: int
    """Rows or records that were read."""
    views: int
    """Rows that only repeat others (pairs, unpaired labels) and were passed over."""
    skipped: tuple[Skip, ...]
    notes: Mapping[str, int]

    def sentence(self) -> str:
        """The outcome in one line."""
        counts = self.counts
        kinds = ", ".join(f"{count} {kind}" for kind, count in counts.kinds.most_common() if kind != "prompt")
        parts = [f"{counts.submissions} answers ({kinds})" if kinds else "0 answers", f"{counts.prompts} new prompts"]
        parts += [f"{counts.completions} completions", f"{counts.labelers} new labelers"]
        further = {"already here": counts.known, "views passed over": self.views, "left out": len(self.skipped)}
        return "; ".join([", ".join(parts), *(f"{count} {name}" for name, count in further.items() if count)])


def import_feedback(
    project: Project, db: Database, source: Path, options: ImportOptions | None = None, *, actor: str = "cli"
) -> ImportReport:
    """Read a file (or the folder of an export or snapshot) into the store.

    Args:
        project: its key makes pseudonyms of other tools' names for people.
        db: the project's store.
        source: a file; with our own layout also a folder that ``feedback export`` or ``snapshot`` wrote.
        options: what the file is.
        actor: for the audit log.

    Raises:
        DataError: the message names file, line, field and remedy; the store is as it was.
    """
    said = options or ImportOptions()
    rows, views, skipped, notes = _read(source, said)
    if not rows:
        remedy = f"import {', '.join(f'{name}.jsonl' for name in PRIMARY[:4])}... instead; they hold the answers themselves"
        raise DataError(f"{source}: holds only views of other rows" if views else f"{source}: holds no row", hint=remedy)
    defaults = Defaults(
        tool=said.tool,
        file=source.name,
        labeler=said.labeler or said.tool,
        cohort=said.cohort,
        source=said.source,
        queue=said.queue or f"import {said.tool}",
        pseudonym=project.pseudonym,
        split_of=split_of,
        judge=_judged(db, rows),
    )
    try:
        with db.write() as session:
            writer = Writer(session, defaults, rows)
            for row in rows:
                try:
                    writer.add(row)
                except RowProblemError as problem:
                    problem.hint = problem.hint or "mend the row; nothing was imported"
                    raise problem.as_error(row.where) from None
            writer.finish()
            detail = {"tool": said.tool, "file": source.name, "answers": writer.counts.submissions, "prompts": writer.counts.prompts}
            audit.append(session, actor=actor, action="import", object=f"file/{source.name}", detail=detail)
    except IntegrityError as error:
        raise DataError(
            f"{source}: does not fit what is in the store ({error.orig})", hint="nothing was imported; is the file mixed up?"
        ) from error
    return ImportReport(counts=writer.counts, rows=len(rows), views=views, skipped=skipped, notes=notes)


def _judged(db: Database, rows: Sequence[Incoming]) -> Judge:
    """New prompts looked through before the transaction: on SQLite nobody else can store an answer while it lasts."""
    unsaid = {prompt_sha256(row.prompt): row.prompt for row in rows if row.lineage.pii_status is None}
    with db.read() as session:
        known = set(session.scalars(select(PromptRow.sha256)))
    found = {sha: judge(nfc(prompt)) for sha, prompt in unsaid.items() if sha not in known}

    def look_up(content: PromptContent) -> tuple[str, Mapping[str, Any], str | None]:
        sha = prompt_sha256(content)
        return found[sha] if sha in found else judge(content)

    return look_up


def judge(content: PromptContent) -> tuple[str, Mapping[str, Any], str | None]:
    """What is found out about a prompt that says nothing of itself: personal data, and the language where its package is installed."""
    from instructloop.feedback.prompts.language import identify
    from instructloop.feedback.prompts.pii import find_pii

    texts = [content] if isinstance(content, str) else [turn.content for turn in content]
    try:
        found = sorted({span.type for text in texts for span in find_pii(text)})
        status, report = ("quarantined", {"types": found}) if found else ("clean", {})
    except MissingExtraError:
        status, report = "unchecked", {}  # it stays out of training until someone checks it
    try:
        language = identify("\n".join(texts)).code
    except MissingExtraError:
        language = None
    return status, report, language


def _read(source: Path, said: ImportOptions) -> tuple[list[Incoming], int, tuple[Skip, ...], Mapping[str, int]]:
    if not source.exists():
        raise DataError(f"no such file: {source}", hint="check the path")
    if said.tool != OWN:
        return _read_foreign(source, said)
    files = _own_files(source) if source.is_dir() else [source]
    rows: list[Incoming] = []
    skipped: list[Skip] = []
    views = 0
    for file in files:
        _check_size(file)
        cells = layout_of(file) in {".csv", ".tsv"}
        for where, row in find_rows(file):
            try:
                if isinstance(row, RowProblemError):
                    raise row
                found = own_row(where, {name: check_cell(name, cell) for name, cell in row.items()} if cells else row)
            except RowProblemError as problem:
                if not said.skip_bad_rows:
                    raise problem.as_error(where) from None
                skipped.append(problem.as_skip(where))
                continue
            if found is None:
                views += 1
            else:
                rows.append(found)
    return rows, views, tuple(skipped), {}


def _own_files(folder: Path) -> list[Path]:
    """The files of an export or snapshot that hold answers, after their hashes were compared with the manifest."""
    if not (folder / MANIFEST).is_file():
        raise DataError(
            f"{folder}: {MANIFEST} is missing", hint="give a folder that 'feedback export' or 'snapshot' wrote, or a single file"
        )
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        listed = {str(name): str(entry["sha256"]) for name, entry in manifest["files"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{folder / MANIFEST}: is not a manifest of ours", hint="export again") from error
    if manifest.get("layout", "ours") != "ours":
        raise DataError(
            f"{folder}: holds the layout {manifest['layout']!r}, which does not name its answers", hint="export with --layout ours"
        )
    order = {name: place for place, name in enumerate(KINDS)}
    files = [name for name in listed if name.partition(".")[0] in PRIMARY and name.endswith(".jsonl")]
    for name in files:
        if not (folder / name).is_file():
            raise DataError(f"{folder / name}: is missing, the manifest names it", hint="export again")
        if hash_file(folder / name) != listed[name]:
            raise DataError(
                f"{folder / name}: was changed after the export", hint="export again, or import the file by itself if you meant to"
            )
    return [folder / name for name in sorted(files, key=lambda name: (order[name.partition(".")[0]], name))]


def _read_foreign(source: Path, said: ImportOptions) -> tuple[list[Incoming], int, tuple[Skip, ...], Mapping[str, int]]:
    if source.is_file():
        _check_size(source)
    names = dict(said.names or {})
    ratings = names.pop("ratings", "")
    imported = _READERS[said.tool](source, names, said.skip_bad_rows)
    rows: list[Incoming] = []
    skipped = [*imported.skipped]
    for where, record in imported.items:
        try:
            rows.append(foreign_row(where, _rating(Placed(where, record), ratings, said.tool), said.tool))
        except RowProblemError as problem:
            if not said.skip_bad_rows:
                raise problem.as_error(where) from None
            skipped.append(problem.as_skip(where))
    return rows, 0, tuple(skipped), imported.notes


def _rating(item: Placed, ratings: str, tool: str) -> Any:
    """Ratings of other tools do not say their scale: 4 of 5 must not become 4 of 7 unseen."""
    record = item.record
    if not isinstance(record, Rating) or ratings == "1-7":
        return record
    if ratings == "keep":
        return Prompt(prompt=record.prompt, meta={**record.meta, "rating": record.overall, "completion": record.completion})
    if ratings:
        raise ConfigError(f"--map ratings={ratings} is unknown", hint="1-7 or keep")
    raise RowProblemError(
        f"{tool} rating",
        "does not say its scale",
        hint="--map ratings=1-7 if it is ours (1 terrible, 7 almost perfect); --map ratings=keep keeps it beside the prompt only",
    )


def _check_size(file: Path) -> None:
    """At most 200 MB, also unpacked (control 17)."""
    size = 0
    for block in _blocks(file):
        size += block
        if size > MOST_FILE_BYTES:
            raise DataError(f"{file}: holds more than {MOST_FILE_BYTES // 1_000_000} MB", hint="split it into several files")


def _blocks(file: Path) -> Iterator[int]:
    if not file.name.lower().endswith(".gz"):
        yield file.stat().st_size
        return
    try:
        with gzip.open(file, "rb") as stream:
            while block := stream.read(1 << 20):
                yield len(block)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{file}: the gzip file is damaged or cut off ({error})", hint="download or copy it again") from error
