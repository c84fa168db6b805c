"""Snapshots as training sees them: the right file of a folder, nothing for other paths, every changed byte found."""

import json
from pathlib import Path

import pytest

from instructloop.core.errors import DataError
from instructloop.core.hashing import hash_file
from instructloop.feedback import snapshots as written
from instructloop.runs import Verdict, lineage, verify
from instructloop.runs.snapshots import MANIFEST_FILE, SNAPSHOT_FORMAT, beside, changed_files, data_file, is_snapshot

SHA = "sha256:" + "0" * 64


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    folder = tmp_path / "abc"
    folder.mkdir()
    (folder / "rankings.jsonl").write_text("{}\n")
    (folder / "rankings.valid.jsonl").write_text("{}\n{}\n")
    files = {
        name: {"rows": rows, "sha256": hash_file(folder / name)} for name, rows in (("rankings.jsonl", 1), ("rankings.valid.jsonl", 2))
    }
    files["votes.jsonl"] = {"rows": 0, "sha256": SHA}
    manifest = {
        "format": SNAPSHOT_FORMAT,
        "files": files,
        "labelers": [{"code": "L001", "cohort": "training", "kind": "human", "answers": 1}],
        "guidelines": [{"guideline": "default@2", "mode": "training", "sha256": "sha256:abcdef0123456789", "answers": 1}],
        "parents": [{"role": "completions", "model": "sft", "stage": "sft", "path": "elsewhere/sft", "sha256": SHA}],
    }
    (folder / MANIFEST_FILE).write_text(json.dumps(manifest))
    return folder


def test_the_name_of_the_format_is_the_one_that_feedback_writes() -> None:
    assert written.FORMAT == SNAPSHOT_FORMAT
    assert written.MANIFEST == MANIFEST_FILE


def test_a_snapshot_stands_for_its_rows_of_a_kind_and_any_other_path_for_itself(snapshot: Path, tmp_path: Path) -> None:
    assert data_file(str(snapshot), "rankings") == str(snapshot / "rankings.jsonl")
    assert beside(str(snapshot), "rankings", "valid") == str(snapshot / "rankings.valid.jsonl")
    assert beside(str(snapshot), "demonstrations") == ""
    assert data_file("some/file.jsonl", "rankings") == "some/file.jsonl"
    assert beside("some/file.jsonl", "rankings") == ""
    assert not is_snapshot(tmp_path)
    (tmp_path / MANIFEST_FILE).write_text("no json")
    assert not is_snapshot(tmp_path)


def test_a_kind_without_rows_says_what_there_is(snapshot: Path) -> None:
    with pytest.raises(DataError, match=r"has no votes of the split train; it has rankings.jsonl 1, rankings.valid.jsonl 2"):
        data_file(str(snapshot), "votes")
    with pytest.raises(DataError) as error:
        data_file(str(snapshot), "prompts")
    assert "--prompt-sources" in (error.value.hint or "")


def test_one_flipped_byte_is_found_with_its_file(snapshot: Path) -> None:
    node = lineage(snapshot)
    assert node.stage == "snapshot"
    assert node.people == ("L001 (training, 1 answer)",)
    assert node.guidelines == ("default@2 (training, abcdef012345, 1 answer)",)
    assert [(parent.role, parent.stage) for parent in node.parents] == [("completions", "sft")]
    by_name = {finding.path.name: finding.verdict for finding in verify(snapshot)}
    # what lies on another machine cannot be hashed here, which is no fault; a listed file that is not there is one
    assert by_name == {
        "sft": Verdict.UNHASHED,
        "rankings.jsonl": Verdict.SAME,
        "rankings.valid.jsonl": Verdict.SAME,
        "votes.jsonl": Verdict.MISSING,
    }
    (snapshot / "rankings.valid.jsonl").write_text("{}\n{]\n")
    assert {finding.path.name: finding.verdict for finding in verify(snapshot)}["rankings.valid.jsonl"] is Verdict.CHANGED
    assert [(file.name, same) for file, same in changed_files(snapshot)] == [
        ("rankings.jsonl", True),
        ("rankings.valid.jsonl", False),
        ("votes.jsonl", False),
    ]
