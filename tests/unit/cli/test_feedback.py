"""``instructloop feedback ...`` and ``snapshot`` as a person types them."""

import json
from pathlib import Path

import pytest

from instructloop.cli.main import main
from instructloop.feedback.founding import found
from instructloop.feedback.schema import PromptRow, Task
from instructloop.testing.projects import Store


@pytest.fixture
def project(tmp_path: Path) -> Path:
    found(tmp_path / "project")
    return tmp_path / "project"


@pytest.fixture
def filled(project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    file = tmp_path / "rows.jsonl"
    rows = [
        {"prompt": "Q?", "completions": ["a", "b"], "ranks": [0, 1], "labeler": "L1", "split": "train"},
        {"prompt": "Q?", "completion": "A.", "labeler": "L1"},
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["feedback", "import", str(file), "--project", str(project)]) == 0
    assert capsys.readouterr().out == (f"{file}: 2 answers (1 rank, 1 demonstration), 1 new prompts, 2 completions, 1 new labelers\n")
    return project


def test_import_snapshot_export(filled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["snapshot", str(filled)]) == 0
    out = capsys.readouterr().out.splitlines()
    assert Path(out[0]).parent == filled / "snapshots"
    assert out[1:] == ["  demonstrations.jsonl: 1 rows", "  rankings.jsonl: 1 rows", "  pair_view.jsonl: 1 rows"]
    assert main(["feedback", "export", str(filled), "--out", str(tmp_path / "trl"), "--layout", "trl"]) == 0
    assert "  pairs: 1 rows" in capsys.readouterr().out
    assert json.loads((tmp_path / "trl" / "pairs.jsonl").read_text())["chosen"] == "a"


def test_what_is_left_out_is_said(filled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "more.jsonl"
    file.write_text('{"prompt": "R?", "completion": "A.", "labeler": "H1", "split": "train"}\n')
    main(["feedback", "import", str(file), "--project", str(filled), "--cohort", "heldout"])
    assert main(["feedback", "export", str(filled), "--out", str(tmp_path / "out")]) == 0
    assert "  left out: 1 answers (cohort heldout)" in capsys.readouterr().out


def test_a_bad_file_is_named_with_its_remedy(filled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "bad.jsonl"
    file.write_text('{"prompt": "Q?", "completions": ["a", "b"], "ranks": [0]}\n')
    assert main(["feedback", "import", str(file), "--project", str(filled)]) == 2
    error = capsys.readouterr().err
    assert f"error: {file}:1: ranks: has 1 entries for 2 completions" in error
    assert "hint:" in error


def test_names_are_mapped_on_the_command_line(project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = {"order": {"value": [{"rank": 1, "value": "B"}, {"rank": 2, "value": "A"}]}}
    row = {"fields": {"ask": "Q?", "one": "yes", "two": "no"}, "responses": [{"user_id": "u", "status": "submitted", "values": values}]}
    file = tmp_path / "records.jsonl"
    file.write_text(json.dumps(row) + "\n")
    command = ["feedback", "import", str(file), "--project", str(project), "--from", "argilla"]
    assert main(command) == 2
    assert main([*command, "--map", "prompt=ask", "A=one", "B=two"]) == 0
    assert "1 answers (1 rank)" in capsys.readouterr().out
    assert main([*command, "--map", "prompt"]) == 2
    assert "--map 'prompt' is no NAME=FIELD" in capsys.readouterr().err


def test_check_finds_a_changed_snapshot_a_wrong_counter_and_a_changed_log(filled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from instructloop.feedback.project import Project

    main(["snapshot", str(filled)])
    capsys.readouterr()
    assert main(["feedback", "check", str(filled)]) == 0
    said = capsys.readouterr().out
    assert "unbroken" in said
    assert "counters: right" in said
    assert "snapshots: 1, as they were made" in said
    opened = Project.open(filled)
    store = Store(opened, opened.database())
    with store.db.write() as session:
        session.query(Task).update({"taken": 7})
    store.db.close()
    file = next((filled / "snapshots").glob("*/rankings.jsonl"))
    file.write_text(file.read_text().replace('"a"', '"x"'))
    assert main(["feedback", "check", str(filled)]) == 3
    said = capsys.readouterr().out
    assert "counters: 2 wrong" in said
    assert f"{file.resolve()}: was changed" in said.replace(str(file), str(file.resolve()))
    assert main(["feedback", "check", str(filled), "--fix"]) == 3
    assert "now mended" in capsys.readouterr().out
    main(["feedback", "check", str(filled)])
    assert "counters: right" in capsys.readouterr().out


def test_backup_upgrade_erase(filled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from instructloop.feedback.project import Project

    assert main(["feedback", "backup", str(filled), str(tmp_path / "copy.sqlite3")]) == 0
    assert main(["feedback", "upgrade", str(filled)]) == 0
    assert "already at revision" in capsys.readouterr().out
    main(["snapshot", str(filled)])
    opened = Project.open(filled)
    db = opened.database()
    with db.read() as session:
        prompt_id = session.query(PromptRow).one().id
    db.close()
    capsys.readouterr()
    assert main(["feedback", "erase", str(filled), "--prompt", prompt_id]) == 2
    assert main(["feedback", "erase", str(filled), "--prompt", prompt_id, "--reason", "asked by its author"]) == 0
    said = capsys.readouterr().out
    assert f"prompt/{prompt_id}: 1 prompts, 2 completions" in said
    assert "1 exports or snapshots that left before hold some of it:" in said
    assert main(["snapshot", str(filled)]) == 2
    assert "left out: 2 erased" in capsys.readouterr().err


def test_a_project_must_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["feedback", "import", "x.jsonl"]) == 2
    assert "no project is named" in capsys.readouterr().err
    assert main(["feedback", "revoke", "x"]) == 2
    assert main(["feedback", "export", "x"]) == 2
    assert main(["snapshot", "/nowhere"]) == 2
