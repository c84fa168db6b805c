"""Imports: the round trip to the byte, other tools' files, and malformed files that change nothing."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text

from instructloop.core.errors import ConfigError, DataError
from instructloop.feedback import audit
from instructloop.feedback.exchange import ImportOptions, Selection, export, import_feedback
from instructloop.feedback.ids import new_id
from instructloop.feedback.reconcile import reconcile
from instructloop.feedback.schema import Adjudication, Assignment, Audit, Base, Labeler, PromptRow, Queue, Submission, Task
from instructloop.feedback.snapshots import make_snapshot
from instructloop.testing import feedback as build
from instructloop.testing.projects import Store

ALL = Selection(purpose="all")


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


def counts(store: Store) -> dict[str, int]:
    """Rows of every table."""
    with store.db.read() as session:
        return {name: session.scalar(text(f'SELECT count(*) FROM "{name}"')) or 0 for name in Base.metadata.tables}


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize("include_pii", [False, True])
def test_export_import_export_gives_the_same_bytes(answered: Store, other: Store, tmp_path: Path, include_pii: bool) -> None:
    chosen = Selection(purpose="all", include_pii=include_pii)
    with answered.db.write() as session:
        prompt = session.scalars(select(PromptRow)).first()
        assert prompt is not None
        prompt.meta = {"b": 1, "a": ["ä", None]}
        task = session.scalars(select(Task).join(Queue, Task.queue_id == Queue.id).where(Queue.kind == "rank")).first()
        assert task is not None
        given = session.scalars(select(Submission).where(Submission.task_id == task.id)).first()
        assert given is not None
        judge = build_person(session)
        session.add(
            Adjudication(id=new_id(), task_id=task.id, decided_by=judge, decision_submission_id=given.id, taxonomy="slip", note="n")
        )
    export(answered.db, tmp_path / "one", selection=chosen)
    report = import_feedback(other.project, other.db, tmp_path / "one")
    assert (report.counts.submissions, report.counts.known) == (54, 0)
    export(other.db, tmp_path / "two", selection=chosen)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert '"provenance": "adjudicated"' in (tmp_path / "two" / "rankings.jsonl").read_text()
    assert reconcile(other.db) == []
    assert audit.verify(other.db) == []


def build_person(session: Any) -> str:
    person = Labeler(code="R001", kind="human", cohort="researcher", state="qualified")
    session.add(person)
    session.flush()
    return person.id


def test_a_snapshot_comes_back_too(answered: Store, other: Store, tmp_path: Path) -> None:
    first = make_snapshot(answered.project, answered.db)
    import_feedback(other.project, other.db, first.path)
    second = make_snapshot(other.project, other.db)
    assert second.name == first.name
    assert {name: body for name, body in contents(first.path).items() if name.endswith(".jsonl")} == {
        name: body for name, body in contents(second.path).items() if name.endswith(".jsonl")
    }


def test_importing_twice_is_refused_by_identifier(answered: Store, other: Store, tmp_path: Path) -> None:
    export(answered.db, tmp_path / "one", selection=ALL)
    import_feedback(other.project, other.db, tmp_path / "one")
    before = counts(other)
    with pytest.raises(DataError, match=r"demonstrations\.jsonl:1: submission_id: '.*' is in the store already"):
        import_feedback(other.project, other.db, tmp_path / "one")
    assert counts(other) == before


def test_rows_without_identifiers_are_recognised_by_their_content(store: Store, tmp_path: Path) -> None:
    file = write(
        tmp_path / "mine.jsonl",
        {"prompt": "Q?", "completions": ["a", "b"], "ranks": [0, 1], "labeler": "L7", "mood": "good"},
        {"prompt": "Q?", "completions": ["a", "b"], "ranks": [1, 0], "labeler": "L8"},
    )
    assert import_feedback(store.project, store.db, file).counts.submissions == 2
    again = import_feedback(store.project, store.db, file)
    assert (again.counts.submissions, again.counts.known) == (0, 2)
    with store.db.read() as session:
        (task,) = session.scalars(select(Task))
        assert (task.wanted, task.taken, task.done, task.state) == (2, 2, 2, "done")
        assert [row.state for row in session.scalars(select(Assignment))] == ["submitted", "submitted"]
        first = session.scalars(select(Submission).order_by(Submission.id)).first()
        assert first is not None
        assert first.origin == {"tool": "instructloop", "file": "mine.jsonl", "line": 1, "fields": {"mood": "good"}}
        assert session.scalars(select(Audit.action)).all().count("import") == 2


def test_new_prompts_are_looked_through_for_personal_data(store: Store, tmp_path: Path) -> None:
    file = write(
        tmp_path / "mine.jsonl",
        {"prompt": "Write to ann@example.org about the meeting of tomorrow", "completion": "Dear Ann", "labeler": "L7"},
        {"prompt": "Write a poem about the meeting of two rivers", "completion": "Two rivers", "labeler": "L7"},
    )
    import_feedback(store.project, store.db, file)
    with store.db.read() as session:
        found = session.execute(select(PromptRow.pii_status, PromptRow.language, PromptRow.source).order_by(PromptRow.id)).all()
    assert [tuple(row) for row in found] == [("quarantined", "en", "dataset"), ("clean", "en", "dataset")]


def argilla(**response: Any) -> dict[str, Any]:
    values = {
        "preference": {"value": [{"rank": 1, "value": "response-2"}, {"rank": 2, "value": "response-1"}]},
        "why": {"value": "shorter"},
    }
    given = {"user_id": "ann@example.org", "status": "submitted", "values": values}
    return {
        "id": "1",
        "fields": {"prompt": "Q?", "response-1": "a", "response-2": "b"},
        "metadata": {"x": 1},
        "responses": [{**given, **response}],
    }


def test_other_tools_answers_get_pseudonyms_and_keep_their_fields(store: Store, tmp_path: Path) -> None:
    file = write(tmp_path / "records.jsonl", argilla(), argilla(user_id="bob"))
    report = import_feedback(store.project, store.db, file, ImportOptions(tool="argilla", cohort="researcher"))
    assert (report.counts.submissions, report.counts.labelers, report.counts.prompts) == (2, 2, 1)
    with store.db.read() as session:
        codes = session.scalars(select(Labeler.code)).all()
        (first, _) = session.scalars(select(Submission).order_by(Submission.id))
        assert first.origin["fields"]["argilla"]["response"]["values"]["why"] == "shorter"
        assert first.origin["fields"]["argilla"]["metadata"] == {"x": 1}
        (queue,) = session.scalars(select(Queue))
        assert (queue.kind, queue.name, queue.state) == ("rank", "import argilla rank", "closed")
    assert all(code.startswith("argilla-") and "ann" not in code for code in codes)
    export(store.db, tmp_path / "out", selection=ALL)
    text_out = (tmp_path / "out" / "rankings.jsonl").read_text()
    assert "ann@example.org" not in text_out
    assert '"origin": {"tool": "argilla", "file": "records.jsonl", "line": 1}' in text_out


def test_alpaca_eval_becomes_votes_with_model_names(store: Store, tmp_path: Path) -> None:
    row = {
        "instruction": "Q?",
        "output_1": "a",
        "output_2": "b",
        "generator_1": "base",
        "generator_2": "mine",
        "annotator": "judge",
        "preference": 2,
    }
    file = tmp_path / "annotations.json"
    file.write_text(json.dumps([row, {**row, "preference": None}]))
    report = import_feedback(store.project, store.db, file, ImportOptions(tool="alpaca-eval", cohort="simulated"))
    assert report.notes == {"unread_judgements": 1}
    export(store.db, tmp_path / "out", selection=ALL)
    (vote,) = [json.loads(line) for line in (tmp_path / "out" / "votes.jsonl").read_text().splitlines()]
    assert (vote["model_a"], vote["model_b"], vote["winner"], vote["labeler"][:12]) == ("base", "mine", "b", "alpaca-eval-")


def test_ratings_of_other_tools_need_their_scale(store: Store, tmp_path: Path) -> None:
    row = {"id": "1", "fields": {"prompt": "Q?", "response": "a"}, "responses": {"quality": [{"value": 4, "user_id": "u"}]}}
    file = write(tmp_path / "records.jsonl", row)
    with pytest.raises(DataError, match="argilla rating: does not say its scale"):
        import_feedback(store.project, store.db, file, ImportOptions(tool="argilla"))
    kept = import_feedback(store.project, store.db, file, ImportOptions(tool="argilla", names={"ratings": "keep"}))
    assert (kept.counts.submissions, kept.counts.prompts) == (0, 1)
    with store.db.read() as session:
        (prompt,) = session.scalars(select(PromptRow))
        assert prompt.meta["imported"][0]["rating"] == 4.0
    taken = import_feedback(store.project, store.db, file, ImportOptions(tool="argilla", names={"ratings": "1-7"}))
    assert taken.counts.kinds == {"rate": 1}


def test_hh_and_oasst_files_come_in(store: Store, tmp_path: Path) -> None:
    start = "\n\nHuman: A joke."
    hh = write(tmp_path / "hh.jsonl", {"chosen": f"{start}\n\nAssistant: No.", "rejected": f"{start}\n\nAssistant: Yes."})
    assert import_feedback(store.project, store.db, hh, ImportOptions(tool="hh")).counts.kinds == {"rank": 1}
    reply = {"message_id": "a", "parent_id": "p", "text": "Hi", "role": "assistant", "replies": []}
    prompt = {"message_id": "p", "parent_id": None, "text": "Hello?", "role": "prompter", "replies": [reply]}
    trees = tmp_path / "oasst.trees.jsonl.gz"
    trees.write_bytes(gzip.compress((json.dumps({"message_tree_id": "p", "prompt": prompt}) + "\n").encode()))
    report = import_feedback(store.project, store.db, trees, ImportOptions(tool="oasst"))
    assert report.counts.kinds == {"prompt": 1, "demonstration": 1}


def test_label_studio_tasks_come_in(store: Store, tmp_path: Path) -> None:
    result = {"from_name": "pw", "to_name": "t", "type": "pairwise", "value": {"selected": "left"}}
    row = {"id": 1, "data": {"prompt": "Q?", "text1": "a", "text2": "b"}, "annotations": [{"id": 2, "completed_by": 4, "result": [result]}]}
    file = tmp_path / "project.json"
    file.write_text(json.dumps([row]))
    assert import_feedback(store.project, store.db, file, ImportOptions(tool="label-studio")).counts.kinds == {"pairwise": 1}


RANKING: dict[str, Any] = {
    "prompt": "Q?",
    "completions": ["a", "b", "c"],
    "ranks": [0, 1, 0],
    "labeler": "L7",
    "cohort": "training",
    "guideline": "default@1",
    "submission_id": "0193-a",
    "task_id": "0193-t",
    "completion_ids": ["c1", "c2", "c3"],
    "prompt_id": "0193-p",
    "tiers": [1, 2, 1],
    "display_order": [2, 0, 1],
    "created_at": 1_700_000_000_000,
}
DEMONSTRATION = {"prompt": "Q?", "completion": "a", "labeler": "L7"}
VOTE = {"prompt": "Q?", "completion_a": "a", "completion_b": "b", "winner": "a", "labeler": "L7"}
RATING = {"prompt": "Q?", "completion": "a", "overall": 4, "labeler": "L7"}
TOXICITY = {"prompt": "Q?", "completions": ["a", "b"], "input_toxicity": 1, "toxicity": [0, 1], "relative": [0, 0], "continuity": [7, 1]}
CRITIQUE = {"prompt": "Q?", "completion": "a", "critique": "too short"}
BIG = "x" * 200_000


def changed(row: dict[str, Any], **values: Any) -> dict[str, Any]:
    return {**row, **values}


def without(row: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key != name}


MALFORMED: list[tuple[dict[str, Any], str]] = [
    # each field missing
    (without(RANKING, "prompt"), "prompt: is missing"),
    (without(RANKING, "completions"), "completions: is missing"),
    (without(RANKING, "ranks"), "ranks: is missing"),
    (without(DEMONSTRATION, "prompt"), "prompt: is missing"),
    (without(VOTE, "winner"), "winner: is missing"),
    (without(VOTE, "completion_b"), "completion_b: is missing"),
    (without(RATING, "completion"), "completion: is missing"),
    (without(TOXICITY, "toxicity"), "toxicity: is missing"),
    (without(TOXICITY, "continuity"), "continuity: is missing"),
    (without(CRITIQUE, "completion"), "completion: is missing"),
    # null and empty
    (changed(DEMONSTRATION, completion=None), "completion: is null"),
    (changed(DEMONSTRATION, completion=" "), "completion: is empty"),
    (changed(DEMONSTRATION, prompt=""), "prompt: is empty"),
    (changed(RANKING, completions=["a", "", "c"]), r"completions\[1\]: is empty"),
    # wrong type
    (changed(DEMONSTRATION, prompt=7), "prompt: must be a list of messages"),
    (changed(DEMONSTRATION, completion=7), "completion: must be a list of messages"),
    (changed(RANKING, completions="abc"), "completions: must be a list of texts"),
    (changed(RANKING, completions=["a"]), "completions: a ranking needs at least 2"),
    (changed(RANKING, ranks="0 1"), "ranks: must be a list of integers"),
    (changed(RANKING, none_acceptable="yes"), "none_acceptable: must be true or false"),
    (changed(RANKING, labeler=7), "labeler: input should be a valid string, got 7"),
    (changed(RANKING, created_at="yesterday"), "created_at: input should be a valid integer, got 'yesterday'"),
    (changed(RANKING, outputs={"a": 1}), "outputs: input should be a valid list"),
    (changed(RANKING, outputs=[{}, {}, {"model": "x"}]), r"outputs\[2\].model: extra inputs are not permitted"),
    (changed(RANKING, completion_ids=["c1", "c2"]), "completion_ids: has 2 entries for 3 completions"),
    (changed(RANKING, models=["m"]), "models: has 1 entries for 3 completions"),
    (changed(RATING, flags=["x"]), "flags: must be an object"),
    (changed(CRITIQUE, critique=3), "critique: must be a text, got int"),
    # out of range
    (changed(RANKING, ranks=[0, 1]), "ranks: has 2 entries for 3 completions"),
    (changed(RANKING, ranks=[0, 1.5, 2]), r"ranks\[1\]: must be an integer or null, got 1\.5"),
    (changed(RANKING, ranks=[0, None, None]), "ranks: at least 2 completions need a rank"),
    (changed(RANKING, tiers=[1, 4, 1]), r"tiers\[1\]: must be a whole number from 1 to 3, got 4"),
    (changed(RANKING, tiers=[0, 1, 0]), r"tiers\[0\]: must be a whole number from 1 to 3, got 0"),
    (changed(RANKING, tiers=[1, 1, 1]), "tiers: say another order than ranks"),
    (changed(RANKING, display_order=[0, 0, 1]), "display_order: must hold each of 0 to 2 once"),
    (changed(RANKING, confidence=10), "confidence: input should be less than or equal to 9, got 10"),
    (changed(RANKING, rev=0), "rev: input should be greater than or equal to 1, got 0"),
    (changed(RATING, overall=8), "overall: must be a whole number from 1 to 7, got 8"),
    (changed(RATING, overall=0), "overall: must be a whole number from 1 to 7, got 0"),
    (changed(VOTE, winner="left"), "winner: 'left' is none of a, b, tie, both_bad"),
    (changed(VOTE, strength=4), "strength: input should be less than or equal to 3, got 4"),
    (changed(TOXICITY, toxicity=[0, 3]), r"toxicity\[1\]: must be a whole number from 0 to 2, got 3"),
    (changed(TOXICITY, relative=[0, -2]), r"relative\[1\]: must be a whole number from -1 to 1, got -2"),
    # unknown words
    (changed(RANKING, cohort="paid"), "cohort: input should be 'training', 'heldout', 'researcher' or 'simulated', got 'paid'"),
    (changed(RANKING, guideline="default"), "guideline: string should match pattern"),
    (changed(RANKING, split="dev"), "split: input should be 'train', 'valid' or 'test', got 'dev'"),
    (changed(RANKING, owner="ann@example.org"), "owner: string should match pattern"),
    (changed(RATING, flags={"rude": "yes"}), "flags.rude: is no field of the form"),
    (changed(RATING, flags={"sexual": "maybe"}), "flags.sexual: must be one of yes, no, got 'maybe'"),
    (changed(RANKING, labeler="=cmd()"), "labeler: string should match pattern"),
    (changed(RANKING, labeler="ann@example.org"), "labeler: string should match pattern"),
    (changed(RANKING, labeler="x" * 65), "labeler: string should match pattern"),
    # duplicate identifiers
    (changed(RANKING, completion_ids=["c1", "c1", "c3"]), "completion_ids: names a completion twice"),
    # too large, not storable
    (changed(DEMONSTRATION, completion=BIG), "completion: holds 200,000 bytes; 64,000 is the most"),
    (changed(DEMONSTRATION, note_of_mine={"deep": [BIG]}), r"note_of_mine.deep\[0\]: holds 200,000 bytes"),
    (changed(DEMONSTRATION, completion="a\0b"), "completion: holds a NUL character"),
    (changed(DEMONSTRATION, completion="\ud800"), "completion: holds half of a surrogate pair"),
    (changed(DEMONSTRATION, shown=["a"], edited_from="c9"), "edited_from: 'c9' is none of completion_ids"),
    (changed(RATING, shown=["a", "b"], slot=1), "completion: is not the text at its slot in shown"),
    (changed(RATING, shown=["a", "b"], slot=2), "slot: must be a whole number from 0 to 1, got 2"),
]


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One project for all files that must leave it as it is."""
    from instructloop.testing.projects import new_store

    made = new_store(tmp_path_factory.mktemp("malformed") / "project")
    yield made
    made.db.close()


@pytest.mark.parametrize(("row", "message"), MALFORMED, ids=[message[:50] for _, message in MALFORMED])
def test_a_malformed_row_is_named_and_changes_nothing(lasting: Store, tmp_path: Path, row: dict[str, Any], message: str) -> None:
    file = write(tmp_path / "answers.jsonl", {**DEMONSTRATION, "prompt": "a good row first"}, row)
    before = counts(lasting)
    with pytest.raises(DataError, match=rf"answers\.jsonl:2: {message}") as caught:
        import_feedback(lasting.project, lasting.db, file)
    assert caught.value.hint
    assert counts(lasting) == before


def raw(*lines: bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        file = folder / "answers.jsonl"
        file.write_bytes(b"\n".join(lines) + b"\n")
        return file

    return make


def csv_file(*lines: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        file = folder / "answers.csv"
        file.write_text("\n".join(lines) + "\n")
        return file

    return make


GOOD = json.dumps(DEMONSTRATION).encode()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (raw(GOOD, b'{"prompt": "\xff"}'), r"answers\.jsonl:2: not valid UTF-8 \(byte 0xff"),
        (raw(GOOD, b'{"prompt": '), r"answers\.jsonl:2: not valid JSON"),
        (raw(GOOD, b"[1, 2]"), r"answers\.jsonl:2: a row must be an object"),
        (raw(GOOD, b'{"prompt": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"), r"answers\.jsonl:2: JSON nested too deeply"),
        (raw(b""), "holds no row"),
        (csv_file("prompt,completion", "Q?,=cmd()"), r"answers\.csv:2: completion: begins like a formula of a spreadsheet: '=cmd\(\)'"),
        (csv_file("prompt,completion", "@SUM(A1),a"), r"answers\.csv:2: prompt: begins like a formula"),
        (csv_file("prompt,completion", "Q?,a,b"), r"answers\.csv:2: 3 columns where the header has 2"),
    ],
)
def test_a_file_that_cannot_be_read_changes_nothing(lasting: Store, tmp_path: Path, make: Any, message: str) -> None:
    before = counts(lasting)
    with pytest.raises(DataError, match=message) as caught:
        import_feedback(lasting.project, lasting.db, make(tmp_path))
    assert caught.value.hint
    assert counts(lasting) == before


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (RANKING, RANKING, "2: submission_id: '0193-a' stands twice in this import"),
        (RANKING, changed(RANKING, submission_id="0193-b"), "2: task_id: labeler L7 answered '0193-t' already"),
        (RANKING, changed(RANKING, submission_id="0193-b", labeler="L8", prompt="R?"), "2: prompt_id: '0193-p' is another prompt"),
        (
            RANKING,
            changed(RANKING, submission_id="0193-b", labeler="L8", task_id="t2", completions=["a", "b", "d"]),
            r"2: completion_ids\[2\]: 'c3' is another completion",
        ),
        (
            RANKING,
            changed(RANKING, submission_id="0193-b", cohort="heldout", task_id="t2"),
            "2: labeler: 'L7' is here a human of the cohort training",
        ),
        (
            changed(DEMONSTRATION, owner=f"sha256:{'0' * 64}", split="train"),
            changed(DEMONSTRATION, prompt="R?", owner=f"sha256:{'0' * 64}", split="test"),
            "2: split: is 'test', but other prompts of this owner lie in 'train'",
        ),
        (changed(DEMONSTRATION, queue="mine"), changed(VOTE, queue="mine"), "2: queue: 'mine' holds demonstration tasks here"),
        (
            RANKING,
            changed(
                RANKING,
                submission_id="s2",
                labeler="L8",
                adjudication={"id": "x", "decided_by": "L9", "cohort": "training", "decision": "gone", "taxonomy": "slip", "created_at": 1},
            ),
            r"answers\.jsonl:2: adjudication.decision: 'gone' is no submission",
        ),
    ],
)
def test_rows_that_contradict_each_other_change_nothing(
    lasting: Store, tmp_path: Path, first: dict[str, Any], second: dict[str, Any], message: str
) -> None:
    before = counts(lasting)
    with pytest.raises(DataError, match=message):
        import_feedback(lasting.project, lasting.db, write(tmp_path / "answers.jsonl", first, second))
    assert counts(lasting) == before


def test_a_file_changed_after_the_export_is_refused(answered: Store, other: Store, tmp_path: Path) -> None:
    export(answered.db, tmp_path / "out", selection=ALL)
    file = tmp_path / "out" / "rankings.jsonl"
    file.write_bytes(file.read_bytes().replace(b"text0", b"text9", 1))
    with pytest.raises(DataError, match=r"rankings\.jsonl: was changed after the export"):
        import_feedback(other.project, other.db, tmp_path / "out")
    with pytest.raises(DataError, match=r"manifest\.json is missing"):
        import_feedback(other.project, other.db, tmp_path)


def test_views_alone_are_no_import(answered: Store, other: Store, tmp_path: Path) -> None:
    export(answered.db, tmp_path / "out", selection=ALL)
    for name in ("pairs", "pair_view", "unpaired"):
        with pytest.raises(DataError, match="holds only views of other rows"):
            import_feedback(other.project, other.db, tmp_path / "out" / f"{name}.jsonl")


def test_votes_alone_and_their_rankings_alone_are_the_same_vote(answered: Store, other: Store, tmp_path: Path) -> None:
    export(answered.db, tmp_path / "out", selection=ALL)
    as_ranking = [line for line in (tmp_path / "out" / "rankings.jsonl").read_text().splitlines() if '"task_kind": "pairwise"' in line]
    (tmp_path / "some.jsonl").write_text("\n".join(as_ranking) + "\n")
    import_feedback(other.project, other.db, tmp_path / "some.jsonl")
    export(other.db, tmp_path / "two", selection=ALL)
    assert (tmp_path / "two" / "votes.jsonl").read_bytes() == (tmp_path / "out" / "votes.jsonl").read_bytes()


def test_a_large_file_is_refused_also_when_packed(lasting: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("instructloop.feedback.exchange.importing.MOST_FILE_BYTES", 1_000_000)
    file = tmp_path / "bomb.jsonl.gz"
    file.write_bytes(gzip.compress(b" " * 2_000_000))
    with pytest.raises(DataError, match="holds more than 1 MB"):
        import_feedback(lasting.project, lasting.db, file)
    with pytest.raises(DataError, match="unknown file type"):
        import_feedback(lasting.project, lasting.db, write(tmp_path / "answers.pkl", DEMONSTRATION))


def test_words_of_the_options_are_checked() -> None:
    with pytest.raises(ConfigError, match="--from: 'doccano' is unknown"):
        ImportOptions(tool="doccano")
    with pytest.raises(ConfigError, match="--labeler: 'a b' is no code"):
        ImportOptions(labeler="a b")


def test_bad_rows_can_be_left_out_and_are_listed(store: Store, tmp_path: Path) -> None:
    file = write(tmp_path / "answers.jsonl", DEMONSTRATION, without(RANKING, "ranks"), changed(VOTE, winner="?"), VOTE)
    report = import_feedback(store.project, store.db, file, ImportOptions(skip_bad_rows=True))
    assert report.counts.submissions == 2
    assert [(skip.line, skip.field) for skip in report.skipped] == [(2, "ranks"), (3, "winner")]


def test_prefix_relatives_share_an_owner_and_a_split(store: Store, tmp_path: Path) -> None:
    start = "The same long beginning of many prompts. " * 10
    rows = [{"prompt": f"{start}{number}", "completion": "a", "labeler": "L7"} for number in range(20)]
    import_feedback(store.project, store.db, write(tmp_path / "answers.jsonl", *rows))
    with store.db.read() as session:
        found = {(row.owner_hash, row.split, row.prefix_key) for row in session.scalars(select(PromptRow))}
    assert len(found) == 1


def test_seeded_answers_and_imported_ones_live_side_by_side(store: Store, tmp_path: Path) -> None:
    queue = build.seed_ranking_queue(store.db, prompts=1, k=3)
    store.answer(build.add_labeler(store.db), queue, "rank")
    import_feedback(store.project, store.db, write(tmp_path / "answers.jsonl", RANKING))
    assert reconcile(store.db) == []
    assert export(store.db, tmp_path / "out", selection=ALL).rows["rankings"] == 2
