"""Exports, imports and snapshots on both engines: the same bytes out of either."""

import gzip
import json
from pathlib import Path

import pytest

from instructloop.feedback import audit
from instructloop.feedback.database import Database
from instructloop.feedback.exchange import Selection, export, import_feedback
from instructloop.feedback.project import Project
from instructloop.feedback.reconcile import reconcile
from instructloop.feedback.snapshots import check_snapshot, make_snapshot
from instructloop.formats import read_rankings
from instructloop.testing.projects import Store, new_store

ALL = Selection(purpose="all")


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


def test_a_project_moves_from_one_engine_to_another_and_back(database: Database, project: Project, tmp_path: Path) -> None:
    start = new_store(tmp_path / "start")
    start.answer_everything()
    export(start.db, tmp_path / "one", selection=ALL)
    import_feedback(project, database, tmp_path / "one")
    export(database, tmp_path / "two", selection=ALL)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert make_snapshot(start.project, start.db).name == make_snapshot(project, database).name
    assert reconcile(database) == []
    assert audit.verify(database) == []
    start.db.close()


def test_a_snapshot_of_either_engine_is_whole(database: Database, project: Project) -> None:
    Store(project, database).answer_everything()
    made = make_snapshot(project, database)
    assert check_snapshot(made) == []
    assert made.manifest["database_revision"] is not None


def test_a_bad_row_changes_nothing_on_either_engine(database: Database, project: Project, tmp_path: Path) -> None:
    file = tmp_path / "answers.jsonl"
    good = '{"prompt": "Q?", "completion": "a", "labeler": "L7", "submission_id": "s1"}\n'
    file.write_text(good + good.replace('"a"', '"b"'))
    with pytest.raises(ValueError, match=r"answers\.jsonl:2: submission_id: 's1' stands twice"):
        import_feedback(project, database, file)
    with pytest.raises(ValueError, match="nothing to export"):
        export(database, tmp_path / "out", selection=ALL)


def test_real_rankings_come_out_as_they_went_in(shared: Path, project: Project, tmp_path: Path) -> None:
    """60 rankings by people with ties (QA-Feedback): prompts, completions and ranks survive the store."""
    source = shared / "data" / "qa-feedback-k4" / "rankings_train.jsonl.gz"
    with gzip.open(source, "rt", encoding="utf-8") as file:
        lines = [next(file) for _ in range(60)]
    (tmp_path / "rankings.jsonl").write_text("".join(lines), encoding="utf-8")
    db = project.database()
    report = import_feedback(project, db, tmp_path / "rankings.jsonl")
    assert report.counts.submissions + report.counts.known == 60
    export(db, tmp_path / "out", selection=Selection(purpose="all", include_pii=True))
    before = {(ranking.prompt, ranking.completions, ranking.ranks) for ranking in read_rankings(tmp_path / "rankings.jsonl")}
    after = {(ranking.prompt, ranking.completions, ranking.ranks) for ranking in read_rankings(tmp_path / "out" / "rankings.jsonl")}
    assert after == before
    kept = json.loads((tmp_path / "out" / "rankings.jsonl").read_text(encoding="utf-8").splitlines()[0])["origin"]["fields"]
    assert {"pairwise", "question", "gold", "errors", "corrected"} <= set(kept)
    db.close()
