"""Exports: what may leave, what each row says, in which order, and that the books know of it."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from instructloop.core.errors import ConfigError, DataError
from instructloop.core.hashing import hash_file
from instructloop.feedback import audit
from instructloop.feedback.answers import DemonstrationAnswer
from instructloop.feedback.assignment import next_lease
from instructloop.feedback.exchange import ImportOptions, Selection, export, import_feedback
from instructloop.feedback.exchange.csvs import safe_cell, to_csv
from instructloop.feedback.ids import now_ms
from instructloop.feedback.schema import Consent, Export, PromptRow
from instructloop.feedback.submissions import revise, revision_key, submit
from instructloop.formats import read_comparisons, read_demonstrations, read_rankings, read_ratings, read_unpaired
from instructloop.testing import feedback as build
from instructloop.testing.projects import Store


def rows(folder: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


def test_rows_name_where_they_came_from(answered: Store, tmp_path: Path) -> None:
    export(answered.db, tmp_path / "out")
    (first, *_) = rows(tmp_path / "out", "rankings")
    assert list(first)[:4] == ["prompt", "completions", "ranks", "labeler"]
    assert (first["labeler"], first["cohort"], first["guideline"], first["task_kind"]) == ("L001", "training", "default@1", "rank")
    assert first["models"] == ["secret-model-name"] * 3
    assert {"submission_id", "prompt_id", "consent_id", "completion_ids", "source", "use_case", "split", "owner"} <= set(first)
    assert first["outputs"][2] == {
        "origin": "model",
        "checkpoint": first["outputs"][0]["checkpoint"],
        "stage": "sft",
        "sampling": {"seed": 7, "temperature": 1.0},
        "draw": 2,
    }


def test_our_readers_read_every_file(answered: Store, tmp_path: Path) -> None:
    out = export(answered.db, tmp_path / "out").path
    assert len(read_demonstrations(out / "demonstrations.jsonl")) == 8
    rankings = read_rankings(out / "rankings.jsonl")
    assert len(rankings) == 16
    assert {ranking.labeler for ranking in rankings} == {"L001", "L002"}
    # rankings of three give three strict pairs each, votes one
    assert len(read_rankings(out / "pairs.jsonl")) == 12 * 3 + 4
    assert len(read_comparisons(out / "votes.jsonl").items) == 4
    assert len(read_ratings(out / "ratings.jsonl").items) == 24
    assert len(read_unpaired(out / "unpaired.jsonl")) == 24


def test_held_out_labelers_are_no_training_data_and_serve_evaluation(answered: Store, tmp_path: Path) -> None:
    made = export(answered.db, tmp_path / "training")
    assert made.left == {"cohort_heldout": 18}
    assert {row["labeler"] for row in rows(tmp_path / "training", "rankings")} == {"L001", "L002"}
    export(answered.db, tmp_path / "evaluation", selection=Selection(purpose="evaluation"))
    assert {row["labeler"] for row in rows(tmp_path / "evaluation", "rankings")} == {"L001", "L002", "H001"}
    with pytest.raises(ConfigError, match="never a source of training data"):
        Selection(cohorts=("training", "heldout"))
    with pytest.raises(ConfigError, match="test split are never training data"):
        Selection(splits=("test",))
    with pytest.raises(ConfigError, match="--cohorts: 'nobody' is unknown"):
        Selection(cohorts=("nobody",))


def change_first_prompt(store: Store, **values: Any) -> str:
    """Changes the prompt of the first ranking task; returns its identifier."""
    with store.db.write() as session:
        prompt = next(
            row for row in session.query(PromptRow).order_by(PromptRow.id) if row.text is not None and row.text.startswith("rank queue")
        )
        for name, value in values.items():
            setattr(prompt, name, value)
        return prompt.id


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"pii_status": "quarantined"}, "personal_data_quarantined"),
        ({"pii_status": "unchecked"}, "personal_data_unchecked"),
        ({"pii_status": "rejected"}, "personal_data_rejected"),
        ({"consent_id": None}, "consent_missing"),
        ({"text": None, "erased_at": 5}, "erased"),
    ],
)
def test_prompts_that_may_not_leave_take_their_answers_with_them(
    answered: Store, tmp_path: Path, values: dict[str, Any], reason: str
) -> None:
    gone = change_first_prompt(answered, **values)
    made = export(answered.db, tmp_path / "out")
    assert made.left == {"cohort_heldout": 18, reason: 2}
    for file in (tmp_path / "out").glob("*.jsonl"):
        assert gone not in file.read_text(), file.name


def test_a_redacted_prompt_may_leave(answered: Store, tmp_path: Path) -> None:
    kept = change_first_prompt(answered, pii_status="redacted")
    export(answered.db, tmp_path / "out")
    assert kept in (tmp_path / "out" / "rankings.jsonl").read_text()


def test_revoking_consent_keeps_the_prompt_out_of_the_next_export(answered: Store, tmp_path: Path) -> None:
    with answered.db.write() as session:
        mine = Consent(text_version="v1", scope="train")
        session.add(mine)
        session.flush()
        consent_id = mine.id
    prompt_id = change_first_prompt(answered, consent_id=consent_id)
    export(answered.db, tmp_path / "before")
    assert prompt_id in (tmp_path / "before" / "rankings.jsonl").read_text()
    with answered.db.write() as session:
        session.get_one(Consent, consent_id).revoked_at = now_ms()
    made = export(answered.db, tmp_path / "after")
    assert made.left["consent_revoked"] == 2
    assert prompt_id not in (tmp_path / "after" / "rankings.jsonl").read_text()
    whole = export(answered.db, tmp_path / "all", selection=Selection(purpose="all"))
    assert whole.left == {"consent_revoked": 3}


def test_consent_for_evaluation_is_no_consent_for_training(store: Store, tmp_path: Path) -> None:
    queue = build.seed_queue(store.db, kind="demonstration", prompts=1)
    store.consent("eval")
    store.answer(build.add_labeler(store.db), queue, "demonstration")
    with pytest.raises(DataError, match="nothing to export") as caught:
        export(store.db, tmp_path / "out")
    assert caught.value.hint is not None
    assert "1 consent_of_another_scope" in caught.value.hint
    assert export(store.db, tmp_path / "out", selection=Selection(purpose="evaluation")).rows["demonstrations"] == 1


def test_only_the_newest_revision_leaves(store: Store, tmp_path: Path) -> None:
    queue = build.seed_ranking_queue(store.db, prompts=1, k=3)
    store.consent()
    labeler = build.add_labeler(store.db)
    lease = next_lease(store.db, labeler, queue.queue_id)
    assert lease is not None
    first = submit(store.db, lease.assignment_id, labeler, lease.idem_key, build.ranking(1, 2, 3), ui_version="t")
    second = revise(store.db, first.submission_id, labeler, revision_key(lease.idem_key, 2), build.ranking(2, 1, 1), ui_version="t")
    export(store.db, tmp_path / "out")
    (row,) = rows(tmp_path / "out", "rankings")
    assert (row["submission_id"], row["rev"], row["ranks"], row["tiers"]) == (second.submission_id, 2, [1, 0, 0], [2, 1, 1])


def test_the_pair_view_keeps_ties_as_zero_and_the_pairs_of_a_ranking_together(store: Store, tmp_path: Path) -> None:
    queue = build.seed_ranking_queue(store.db, prompts=1, k=4)
    store.consent()
    labeler = build.add_labeler(store.db)
    lease = next_lease(store.db, labeler, queue.queue_id)
    assert lease is not None
    submit(store.db, lease.assignment_id, labeler, lease.idem_key, build.ranking(3, 1, 1, 2), ui_version="t")
    export(store.db, tmp_path / "out")
    view = rows(tmp_path / "out", "pair_view")
    assert [(row["i"], row["j"], row["sign"], row["rank_gap"]) for row in view] == [
        (0, 1, -1, 2),
        (0, 2, -1, 2),
        (0, 3, -1, 1),
        (1, 2, 0, 0),
        (1, 3, 1, 1),
        (2, 3, 1, 1),
    ]
    (ranking,) = rows(tmp_path / "out", "rankings")
    assert {row["submission_id"] for row in view} == {ranking["submission_id"]}
    pairs = rows(tmp_path / "out", "pairs")
    assert [(pair["chosen"], pair["rejected"]) for pair in pairs] == [
        (ranking["completions"][i], ranking["completions"][j]) for i, j in ((1, 0), (2, 0), (3, 0), (1, 3), (2, 3))
    ]


def test_exports_are_stable_and_hashed(answered: Store, tmp_path: Path) -> None:
    first, second = export(answered.db, tmp_path / "one"), export(answered.db, tmp_path / "two")
    assert first.sha256 == second.sha256
    manifest = json.loads((tmp_path / "one" / "manifest.json").read_text())
    assert (tmp_path / "one" / "manifest.json").read_bytes() == (tmp_path / "two" / "manifest.json").read_bytes()
    for name, entry in manifest["files"].items():
        assert hash_file(tmp_path / "two" / name) == entry["sha256"]
        assert len((tmp_path / "two" / name).read_text().splitlines()) == entry["rows"]
    identifiers = [row["submission_id"] for row in rows(tmp_path / "one", "rankings")]
    assert identifiers == sorted(identifiers)


def test_every_export_is_in_the_books(answered: Store, tmp_path: Path) -> None:
    made = export(answered.db, tmp_path / "out", actor="user-7")
    with answered.db.read() as session:
        (row,) = session.query(Export).all()
        prompts = {prompt.id for prompt in session.query(PromptRow)}
    assert (row.made_by, row.purpose, row.sha256, row.includes_pii, row.rows) == (
        "user-7",
        "export",
        made.sha256,
        False,
        sum(made.rows.values()),
    )
    assert set(row.prompt_ids["ids"]) == prompts
    assert audit.verify(answered.db) == []


def test_nothing_is_overwritten(answered: Store, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(DataError, match="exists already"):
        export(answered.db, tmp_path / "out")


def test_personal_fields_leave_on_request_only(store: Store, tmp_path: Path) -> None:
    queue = build.seed_queue(store.db, kind="demonstration", prompts=1)
    store.consent()
    with store.db.write() as session:
        for prompt in session.query(PromptRow):
            prompt.meta = {"mail": "ann@example.org"}
    user = build.add_user(store.db, "labeler@example.org")
    labeler = build.add_labeler(store.db, user=user)
    lease = next_lease(store.db, labeler, queue.queue_id)
    assert lease is not None
    submit(store.db, lease.assignment_id, labeler, lease.idem_key, build.any_answer("demonstration", 0), comment="call me", ui_version="t")
    export(store.db, tmp_path / "plain")
    export(store.db, tmp_path / "with", selection=Selection(include_pii=True))
    plain = (tmp_path / "plain" / "demonstrations.jsonl").read_text()
    assert "ann@example.org" not in plain
    assert "call me" not in plain
    (row,) = rows(tmp_path / "with", "demonstrations")
    assert (row["comment"], row["prompt_meta"]) == ("call me", {"mail": "ann@example.org"})
    for folder in ("plain", "with"):
        assert "labeler@example.org" not in "".join(file.read_text() for file in (tmp_path / folder).iterdir())


def test_surplus_answers_are_kept_and_marked(store: Store, tmp_path: Path) -> None:
    text = {"prompt": "Q?", "completion": "A.", "labeler": "L1"}
    file = tmp_path / "in.jsonl"
    file.write_text(json.dumps(text) + "\n" + json.dumps({**text, "completion": "B.", "labeler": "L2", "surplus": True}) + "\n")
    import_feedback(store.project, store.db, file)
    export(store.db, tmp_path / "out", selection=Selection(purpose="all"))
    assert [row.get("surplus") for row in rows(tmp_path / "out", "demonstrations")] == [None, True]
    export(store.db, tmp_path / "without", selection=Selection(purpose="all", include_surplus=False))
    assert [row["labeler"] for row in rows(tmp_path / "without", "demonstrations")] == ["L1"]


@pytest.mark.parametrize("layout", ["trl", "trl-conversational"])
def test_trl_layouts_come_back_through_our_readers(answered: Store, tmp_path: Path, layout: Any) -> None:
    made = export(answered.db, tmp_path / "out", layout=layout)
    assert made.rows == {"demonstrations": 8, "pairs": 12 * 3 + 4, "unpaired": 24, "prompts": 18}
    (first, *_) = rows(tmp_path / "out", "pairs")
    assert set(first) >= {"prompt", "chosen", "rejected", "labeler", "submission_id", "guideline"}
    assert isinstance(first["prompt"], str if layout == "trl" else list)
    assert len(read_rankings(tmp_path / "out" / "pairs.jsonl")) == 40


FORMULAS = ["=cmd()", "+1+1", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "  =1", " \u00a0@x"]


@pytest.mark.parametrize("text", FORMULAS)
def test_formulas_are_made_harmless_in_csv(text: str) -> None:
    assert safe_cell(text) == f"'{text}"


def test_other_cells_stay_as_they_are() -> None:
    assert [safe_cell(value) for value in ("a=b", "x - y", -3, 0.5, True, None, ["=x"], {"a": 1})] == [
        "a=b",
        "x - y",
        "-3",
        "0.5",
        "true",
        "",
        '["=x"]',
        '{"a": 1}',
    ]
    assert to_csv([{"a": 1}, {"b": "=1"}]) == "a,b\n1,\n,'=1\n"


def test_csv_export_of_a_formula(store: Store, tmp_path: Path) -> None:
    queue = build.seed_queue(store.db, kind="demonstration", prompts=1)
    store.consent()
    labeler = build.add_labeler(store.db)
    lease = next_lease(store.db, labeler, queue.queue_id)
    assert lease is not None
    submit(store.db, lease.assignment_id, labeler, lease.idem_key, DemonstrationAnswer(text='=cmd("calc")'), ui_version="t")
    export(store.db, tmp_path / "out", csv=True)
    (row,) = csv.DictReader(io.StringIO((tmp_path / "out" / "demonstrations.csv").read_text()))
    assert row["completion"] == '\'=cmd("calc")'
    other = tmp_path / "in.csv"
    other.write_text("prompt,completion,labeler\nQ?,'=cmd(),L9\n")
    import_feedback(store.project, store.db, other, ImportOptions(source="labeler"))
    export(store.db, tmp_path / "again", selection=Selection(purpose="all"))
    assert rows(tmp_path / "again", "demonstrations")[1]["completion"] == "=cmd()"
