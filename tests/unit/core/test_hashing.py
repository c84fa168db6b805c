from pathlib import Path

from instructloop.core.hashing import hash_bytes, hash_file, hash_json, hash_tree


def test_hashes_are_plain_sha256_with_a_prefix(tmp_path: Path) -> None:
    # sha256 of "abc": the published test vector of FIPS 180-2
    expected = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    (tmp_path / "file").write_bytes(b"abc")
    assert hash_bytes(b"abc") == expected
    assert hash_file(tmp_path / "file") == expected


def test_key_order_does_not_change_a_json_hash() -> None:
    assert hash_json({"a": 1, "b": 2}) == hash_json({"b": 2, "a": 1})
    assert hash_json({"a": 1}) != hash_json({"a": 2})


def test_a_tree_hash_sees_names_and_contents_but_not_ignored_files(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_text("1")
    before = hash_tree(tmp_path / "model", ignore=["report.html"])
    (tmp_path / "model" / "report.html").write_text("later")
    assert hash_tree(tmp_path / "model", ignore=["report.html"]) == before
    (tmp_path / "model" / "weights").rename(tmp_path / "model" / "renamed")
    assert hash_tree(tmp_path / "model", ignore=["report.html"]) != before
