"""Folders: the layout of ``datasets.save_to_disk`` (built here with pyarrow and, where installed, by the library itself) and shards."""

import json
from pathlib import Path
from typing import Any

import pytest

from instructloop.core.errors import DataError
from instructloop.formats import read_rows
from instructloop.formats.tables import hub_rows

ROWS: list[dict[str, Any]] = [{"prompt": f"q{index}", "completion": "a"} for index in range(5)]


def save_to_disk(folder: Path, rows: list[dict[str, Any]], shards: int = 1, **state: object) -> None:
    """What ``datasets`` 4 writes: Arrow streams and a state.json that lists them."""
    pyarrow = pytest.importorskip("pyarrow", reason="needs the extra 'files'")
    folder.mkdir(parents=True)
    names = [f"data-{index:05d}-of-{shards:05d}.arrow" for index in range(shards)]
    for index, name in enumerate(names):
        table = pyarrow.Table.from_pylist(rows[index * len(rows) // shards : (index + 1) * len(rows) // shards])
        with pyarrow.OSFile(str(folder / name), "wb") as sink, pyarrow.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
    (folder / "dataset_info.json").write_text("{}")
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in names], **state}))


def test_a_saved_dataset_is_read_shard_after_shard(tmp_path: Path) -> None:
    save_to_disk(tmp_path / "saved", ROWS, shards=2)
    found = list(read_rows(tmp_path / "saved"))
    assert [row for _, row in found] == ROWS
    assert [where.line for where, _ in found] == [1, 2, 3, 4, 5]


def test_of_several_splits_train_is_taken_unless_another_is_named(tmp_path: Path) -> None:
    save_to_disk(tmp_path / "saved/train", ROWS[:3])
    save_to_disk(tmp_path / "saved/test", ROWS[3:])
    (tmp_path / "saved/dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    assert [row for _, row in read_rows(tmp_path / "saved")] == ROWS[:3]
    assert [row for _, row in read_rows(f"{tmp_path / 'saved'}#test")] == ROWS[3:]
    with pytest.raises(DataError, match="no split 'dev'") as caught:
        list(read_rows(f"{tmp_path / 'saved'}#dev"))
    assert "train, test" in str(caught.value.hint)


def test_the_library_itself_writes_what_we_read(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="the optional package 'datasets' is not installed")
    datasets.Dataset.from_list(ROWS).save_to_disk(str(tmp_path / "one"))
    assert [row for _, row in read_rows(tmp_path / "one")] == ROWS
    splits = {"train": datasets.Dataset.from_list(ROWS[:3]), "test": datasets.Dataset.from_list(ROWS).select([4, 3])}
    datasets.DatasetDict(splits).save_to_disk(str(tmp_path / "two"))
    assert [row for _, row in read_rows(tmp_path / "two")] == ROWS[:3]
    assert [row for _, row in read_rows(f"{tmp_path / 'two'}#test")] == [ROWS[4], ROWS[3]]


def test_a_hub_data_set_is_read_through_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library takes a local folder where it takes a hub name, so the whole path runs without a network."""
    datasets = pytest.importorskip("datasets", reason="the optional package 'datasets' is not installed")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    write(tmp_path / "owner/train.jsonl", ROWS[:3])
    write(tmp_path / "owner/test.jsonl", ROWS[3:])
    found = list(hub_rows(str(tmp_path / "owner"), "test"))
    assert [row for _, row in found] == ROWS[3:]
    assert str(found[1][0]).endswith("owner#test:2")
    with pytest.raises(DataError, match="cannot be loaded"):
        list(hub_rows(str(tmp_path / "owner"), "dev"))


def test_a_dataset_with_a_separate_index_is_refused(tmp_path: Path) -> None:
    save_to_disk(tmp_path / "saved", ROWS, _indices_data_files=[{"filename": "indices.arrow"}])
    with pytest.raises(DataError, match="separate index") as caught:
        list(read_rows(tmp_path / "saved"))
    assert "flatten_indices" in str(caught.value.hint)


def test_a_damaged_shard_is_a_clear_error(tmp_path: Path) -> None:
    save_to_disk(tmp_path / "saved", ROWS)
    (tmp_path / "saved/data-00000-of-00001.arrow").write_bytes(b"cut")
    with pytest.raises(DataError, match="not a readable Arrow file"):
        list(read_rows(tmp_path / "saved"))
    (tmp_path / "saved/data-00000-of-00001.arrow").unlink()
    with pytest.raises(DataError, match="not a readable Arrow file"):
        list(read_rows(tmp_path / "saved"))


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_a_folder_of_shards_is_one_data_set_and_splits_are_not_mixed(tmp_path: Path) -> None:
    write(tmp_path / "data/train-00000-of-00002.jsonl", ROWS[:2])
    write(tmp_path / "data/train-00001-of-00002.jsonl", ROWS[2:4])
    write(tmp_path / "data/test-00000-of-00001.jsonl", ROWS[4:])
    (tmp_path / "README.md").write_text("not data")
    assert [row for _, row in read_rows(tmp_path)] == ROWS[:4]
    assert [row for _, row in read_rows(f"{tmp_path}#test")] == ROWS[4:]


def test_unrelated_files_in_a_folder_must_be_named(tmp_path: Path) -> None:
    write(tmp_path / "alpha.jsonl", ROWS[:1])
    write(tmp_path / "beta.jsonl", ROWS[1:])
    with pytest.raises(DataError, match="several data sets in this folder") as caught:
        list(read_rows(tmp_path))
    assert "alpha, beta" in str(caught.value.hint)
    assert [row for _, row in read_rows(f"{tmp_path}#beta")] == ROWS[1:]


def test_an_empty_folder_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no data file in this folder"):
        list(read_rows(tmp_path))
