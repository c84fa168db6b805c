"""``instructloop prompts ...``: prompts into the store, the paper's tables about them, checks, and what holds personal data."""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from instructloop.cli.arguments import parse
from instructloop.cli.tables import console
from instructloop.core.errors import ConfigError, DataError

if TYPE_CHECKING:
    from instructloop.feedback.database import Database
    from instructloop.feedback.project import Project
    from instructloop.feedback.prompts import Cell, ImportResult, TokenCounter

_FOUND_SOMETHING = 3


@dataclass(frozen=True, kw_only=True)
class ImportArguments:
    """Arguments of ``prompts import``."""

    file: Annotated[str, tyro.conf.Positional]
    """JSONL, CSV, Parquet (also .gz), or a datasets folder; folder#split names a split."""
    project: str = ""
    """Project folder (instructloop init)."""
    source: Literal["", "playground", "api", "labeler", "dataset", "synthetic"] = ""
    """Source of rows that name none; playground and api prompts need consent."""
    owner: str = ""
    """Owner of rows that name none."""
    licence: str = ""
    """Licence of rows that name none; prompts of data sets need one."""
    use_case: str = ""
    """Use case of rows that name none, one of the ten."""
    rename: tuple[str, ...] = ()
    """Fields of the file under our names, e.g. question=prompt source=origin."""
    keep_unknown: bool = False
    """Keep fields that are not ours beside the prompt, instead of refusing the file."""
    pii: Literal["quarantine", "redact"] = "quarantine"
    """Prompts with personal data: set aside for a person, or stored with it blacked out."""
    regions: tuple[str, ...] = ()
    """Countries whose phone numbers are known without a country code; empty takes ten."""
    names: str = ""
    """spaCy pipeline that finds people's names; empty looks for none."""
    near: float = 0.8
    """Share of word 3-grams in common from which prompts are nearly the same; 0 keeps them (ours)."""
    prefix_chars: int = 200
    """Prompts that share so many first characters are relatives; one stays (ours: the paper gives no length)."""
    tokenizer: str = ""
    """Model directory or tokenizer.json to count tokens with; empty takes a quarter of the bytes."""
    fewshot_sets: int = 0
    """Further examples of each few-shot template, with other choices of what is shown."""
    fewshot_shots: int = 2
    """How many pairs such an example shows."""
    splits: tuple[float, float, float] = (0.8, 0.1, 0.1)
    """Shares of owners in train, valid and test, for owners new to the store."""
    dry_run: bool = False
    """Count, and store nothing."""
    json: bool = False
    """Print JSON."""


@dataclass(frozen=True, kw_only=True)
class StatsArguments:
    """Arguments of ``prompts stats``."""

    target: Annotated[str, tyro.conf.Positional]
    """A project folder, or a file of prompts, demonstrations or rankings."""
    source: Literal["customer", "labeler", "dataset", "synthetic"] = "customer"
    """Source of a file's rows that name none."""
    tokenizer: str = ""
    """Model directory or tokenizer.json to count tokens with (files); empty takes a quarter of the bytes."""
    json: bool = False
    """Print JSON."""


@dataclass(frozen=True, kw_only=True)
class CheckArguments:
    """Arguments of ``prompts check``."""

    project: Annotated[str, tyro.conf.Positional]
    """A project folder."""


@dataclass(frozen=True, kw_only=True)
class ReviewArguments:
    """Arguments of ``prompts review``."""

    project: Annotated[str, tyro.conf.Positional]
    """A project folder."""
    prompt: Annotated[str, tyro.conf.Positional] = ""
    """A prompt in quarantine; empty lists them."""
    decision: Annotated[Literal["", "clear", "redact", "reject"], tyro.conf.Positional] = ""
    """clear: a false alarm; redact: a copy without the personal data takes its place; reject: never used."""
    text: str = ""
    """For redact: the prompt as it should be; empty blacks out what the rules find."""
    limit: int = 20
    """How many to list."""


@dataclass(frozen=True, kw_only=True)
class ReportArguments:
    """Arguments of ``prompts pii-report``."""

    file: Annotated[str, tyro.conf.Positional]
    """Rows {"text", "spans": [{"type", "start", "end"}]}."""
    regions: tuple[str, ...] = ()
    """Countries whose phone numbers are known without a country code; empty takes ten."""
    names: str = ""
    """spaCy pipeline that finds people's names; empty looks for none."""
    json: bool = False
    """Print JSON."""


@dataclass(frozen=True, kw_only=True)
class ExpandArguments:
    """Arguments of ``prompts expand``."""

    file: Annotated[str, tyro.conf.Positional]
    """Few-shot templates: rows {"instruction", "examples": [{"query", "response"}, ...]}."""
    out: str = ""
    """Demonstrations to write (JSONL)."""
    sets: int = 0
    """Further examples of each template, with other choices of what is shown."""
    shots: int = 2
    """How many pairs such an example shows."""
    seed: int = 0
    """Base of the draws."""


def import_file(arguments: list[str], prog: str) -> None:
    """Import prompts: all of the file, or nothing of it."""
    given = parse(ImportArguments, arguments, prog)
    from instructloop.feedback.prompts import DEFAULT_REGIONS, Defaults, ImportRules, SplitShares, import_prompts, spacy_names

    rename = dict(_pair(word) for word in given.rename)
    defaults = Defaults(
        source=given.source,
        owner=given.owner,
        licence=given.licence,
        use_case=given.use_case,
        rename=rename,
        keep_unknown=given.keep_unknown,
    )
    rules = ImportRules(
        prefix_chars=given.prefix_chars,
        near_similarity=given.near,
        personal=given.pii,
        regions=given.regions or DEFAULT_REGIONS,
        names=spacy_names(given.names) if given.names else None,
        fewshot_sets=given.fewshot_sets,
        fewshot_shots=given.fewshot_shots,
        counter=_counter(given.tokenizer),
    )
    train, valid, test = given.splits
    shares = SplitShares(train=train, valid=valid, test=test)
    with _store(given.project) as (project, database):
        result = import_prompts(
            project, given.file, database=database, defaults=defaults, rules=rules, shares=shares, dry_run=given.dry_run
        )
    if given.json:
        print(json.dumps(asdict(result), indent=2))
    else:
        _print_result(console(), result, given.project)


def _pair(word: str) -> tuple[str, str]:
    theirs, sign, ours = word.partition("=")
    if not sign or not theirs or not ours:
        raise ConfigError(f"--rename: {word!r} is no pair of names", hint="write THEIRS=OURS, e.g. question=prompt")
    return theirs, ours


def _print_result(out: Console, result: "ImportResult", project: str) -> None:
    out.print(f"[bold]{escape(result.sentence())}[/bold]", soft_wrap=True)
    dropped = {"in the store already": result.known, "the same but for case and space": result.exact,
               "same long beginning": result.prefix, "nearly the same": result.near}  # fmt: skip
    lines = [
        ("left out", ", ".join(f"{n} {name}" for name, n in dropped.items() if n) or "none"),
        ("splits", ", ".join(f"{name} {result.splits[name]}" for name in ("train", "valid", "test") if name in result.splits)),
        ("owners", str(result.owners)),
        ("languages", ", ".join(f"{name} {n}" for name, n in list(result.languages.items())[:12])),
        ("too long for training", str(result.over_length)),
        ("personal data", ", ".join(f"{name} in {n}" for name, n in result.personal.items())),
        ("quarantined", str(result.quarantined)),
        ("redacted", str(result.redacted)),
    ]
    for name, value in lines:
        if value and value != "0":
            out.print(f"  {name:<22} {escape(value)}", soft_wrap=True)
    if result.quarantined and not result.dry_run:
        out.print(f"look at what is set aside: instructloop prompts review {escape(project)}", soft_wrap=True)


def stats(arguments: list[str], prog: str) -> None:
    """Print the paper's tables about prompts for a project or a file."""
    given = parse(StatsArguments, arguments, prog)
    from instructloop.feedback.project import is_project
    from instructloop.feedback.prompts import facts_of_file, facts_of_store, prompt_tables

    counter = _counter(given.tokenizer)
    if is_project(given.target):
        with _store(given.target) as (_, database), database.read() as session:
            facts = facts_of_store(session, counter=counter)
        if not facts:
            raise DataError(
                f"{given.target} holds no prompts", hint=f"instructloop prompts import FILE --project {given.target} brings some in"
            )
    else:
        facts = facts_of_file(given.target, source=given.source, counter=counter)
    tables = prompt_tables(facts, token_rule=counter.rule)
    if given.json:
        print(json.dumps({table.key: table.as_json() for table in tables}, indent=2))
        return
    out = console()
    for table in tables:
        if table.rows:
            out.print(
                f"\n[bold]{escape(table.title)}[/bold]" + (f"  [dim]{escape(table.note)}[/dim]" if table.note else ""), soft_wrap=True
            )
            out.print(_grid(table.columns, table.rows))


def _grid(columns: Sequence[str], rows: Sequence[Sequence["Cell"]]) -> Table:
    shown = Table(box=box.SIMPLE_HEAD)
    for place, name in enumerate(columns):
        shown.add_column(escape(name), justify="left" if place == 0 else "right")
    for row in rows:
        shown.add_row(*(_cell(value) for value in row))
    return shown


def _cell(value: "Cell") -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.1f}"
    return f"{value:,}" if isinstance(value, int) else escape(value)


def check(arguments: list[str], prog: str) -> int:
    """Check splits, consent and personal data of a project's prompts; exit code 3 if something does not hold."""
    given = parse(CheckArguments, arguments, prog)
    from instructloop.feedback.prompts import consent_findings, personal_findings, split_findings

    with _store(given.project) as (_, database), database.read() as session:
        findings = [*split_findings(session), *consent_findings(session), *personal_findings(session)]
    out = Console(highlight=False, soft_wrap=True)
    for finding in findings:
        out.print(f"[red]found[/red] {escape(str(finding))}")
    if not findings:
        out.print("[green]good[/green] splits by owner, no relatives across splits, consent in force, no personal data in training prompts")
    return _FOUND_SOMETHING if findings else 0


def review(arguments: list[str], prog: str) -> None:
    """List prompts in quarantine, or decide about one."""
    given = parse(ReviewArguments, arguments, prog)
    from instructloop.core.records import prompt_text
    from instructloop.feedback.prompts import quarantined
    from instructloop.feedback.prompts import review as decide

    if given.prompt and not given.decision:
        raise ConfigError(f"no decision about {given.prompt}", hint="add clear, redact or reject")
    with _store(given.project) as (_, database):
        if given.decision:
            kept = decide(database, given.prompt, given.decision, actor="cli", text=given.text or None)
            print(f"{given.decision}: " + (f"{kept} may be used" if kept else f"{given.prompt} is never used"))
            return
        with database.read() as session:
            waiting = quarantined(session, limit=given.limit)
    out = Console(highlight=False, soft_wrap=True)
    for item in waiting:
        text = prompt_text(item.content)
        found = ", ".join(f"{span.type} {span.value!r}" for span in item.spans) or "flagged by a labeler"
        out.print(f"[bold]{item.id}[/bold] ({item.split}) {escape(found)}")
        out.print(escape(text if len(text) <= 300 else text[:300] + "..."), style="dim")
    if not waiting:
        out.print("no prompt is in quarantine")


def pii_report(arguments: list[str], prog: str) -> None:
    """Print recall and precision of the personal-data rules by type."""
    given = parse(ReportArguments, arguments, prog)
    from instructloop.feedback.prompts import DEFAULT_REGIONS, score_file, spacy_names

    names = spacy_names(given.names) if given.names else None
    scores = score_file(given.file, regions=given.regions or DEFAULT_REGIONS, names=names)
    if given.json:
        print(json.dumps([item.as_json() for item in scores], indent=2))
        return
    shown = Table(box=box.SIMPLE_HEAD, title="personal data by type, Wilson's 95 % intervals")
    for name in ("type", "labeled", "recall", "found", "precision"):
        shown.add_column(name, justify="left" if name == "type" else "right")
    for item in scores:
        row = item.as_json()
        recall = _share(item.recall, row["recall_interval"]) if item.looked_for else "not looked for"
        precision = _share(item.precision, row["precision_interval"])
        shown.add_row(escape(item.type), str(item.labeled), recall, str(item.found) if item.looked_for else "-", precision)
    console().print(shown)


def _share(value: float | None, interval: Sequence[float]) -> str:
    return "-" if value is None else f"{value:.3f} \\[{interval[0]:.3f}, {interval[1]:.3f}]"


def expand(arguments: list[str], prog: str) -> None:
    """Write few-shot templates out as demonstrations, K for K pairs."""
    given = parse(ExpandArguments, arguments, prog)
    if not given.out:
        raise ConfigError("no file is named", hint="add --out demonstrations.jsonl")
    from instructloop.feedback.prompts import Defaults, FewshotTemplate, read_inputs, sample_sets
    from instructloop.feedback.prompts import expand as examples
    from instructloop.formats import write_demonstrations

    demonstrations = []
    for where, row in read_inputs(given.file, Defaults(source="labeler", owner="unnamed", keep_unknown=True)):
        if not isinstance(row.content, FewshotTemplate):
            raise DataError(f"{where}: examples: is missing", hint="a few-shot template has an instruction and at least 2 examples")
        made = examples(row.content)
        if given.sets:
            made += sample_sets(row.content, given.sets, shots=given.shots, seed=given.seed)
        demonstrations += list({(item.prompt, item.completion): item for item in made}.values())
    write_demonstrations(Path(given.out), demonstrations)
    print(f"{len(demonstrations)} demonstrations in {given.out}", file=sys.stderr)


def _counter(tokenizer: str) -> "TokenCounter":
    from instructloop.feedback.prompts import ESTIMATE, tokenizer_counter

    return tokenizer_counter(tokenizer) if tokenizer else ESTIMATE


@contextmanager
def _store(folder: str) -> Iterator[tuple["Project", "Database"]]:
    if not folder:
        raise ConfigError("no project is named", hint="add --project DIR; instructloop init DIR makes one")
    from instructloop.feedback import migrations
    from instructloop.feedback.project import Project

    project = Project.open(folder)
    database = project.database()
    try:
        migrations.require_current(database)
        yield project, database
    finally:
        database.close()
