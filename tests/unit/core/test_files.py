from pathlib import Path

import pytest

from instructloop.core.errors import DataError
from instructloop.core.files import append_jsonl, read_json, read_jsonl, write_atomic, write_directory, write_json, write_jsonl


def test_a_directory_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    def fails_halfway(path: Path) -> None:
        (path / "first").write_text("written")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_directory(tmp_path / "checkpoint", fails_halfway)
    assert list(tmp_path.iterdir()) == []
    write_directory(tmp_path / "checkpoint", lambda path: (path / "first").write_text("written") and None)
    assert (tmp_path / "checkpoint" / "first").read_text() == "written"


def test_a_left_over_partial_directory_does_not_hinder_the_next_write(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.partial").mkdir()
    (tmp_path / "checkpoint.partial" / "stale").write_text("")
    write_directory(tmp_path / "checkpoint", lambda path: (path / "new").write_text("x") and None)
    assert [file.name for file in (tmp_path / "checkpoint").iterdir()] == ["new"]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / "status.json"
    write_json(file, {"state": "running"})
    with pytest.raises(ValueError, match="Out of range float"):
        write_json(file, {"loss": float("nan")})
    assert read_json(file) == {"state": "running"}


def test_rows_come_back_as_written_and_a_torn_last_line_can_be_dropped(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    write_jsonl(file, [{"step": 1}, {"step": 2}])
    append_jsonl(file, {"step": 3, "text": "ä"})
    with file.open("a") as handle:
        handle.write('{"step": 4, "lo')
    assert [row["step"] for row in read_jsonl(file, drop_torn_tail=True)] == [1, 2, 3]
    with pytest.raises(DataError, match=r"metrics.jsonl:4: not valid JSON"):
        list(read_jsonl(file))


def test_a_missing_file_has_no_rows(tmp_path: Path) -> None:
    assert list(read_jsonl(tmp_path / "none.jsonl")) == []


def test_broken_json_names_file_and_line(tmp_path: Path) -> None:
    write_atomic(tmp_path / "config.json", '{\n"a": 1,\n}')
    with pytest.raises(DataError, match=r"config.json:3"):
        read_json(tmp_path / "config.json")
