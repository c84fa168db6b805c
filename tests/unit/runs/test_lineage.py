"""A model can be walked back to the data and the labelers behind it, and every hash checked again."""

import shutil
from pathlib import Path

from instructloop.runs import RunDir, Verdict, labelers, lineage, parent, verify


def save(path: Path) -> None:
    (path / "weights").write_text(path.parent.name)


def chain(root: Path) -> Path:
    """data -> sft -> ppo, as a pipeline lays them out."""
    data = root / "stages/build/demonstrations.jsonl"
    data.parent.mkdir(parents=True)
    data.write_text('{"prompt": "p", "completion": "c", "labeler": "L02"}\n{"prompt": "q", "completion": "d", "labeler": "L01"}\n')
    with RunDir.open(root / "stages/sft", stage="sft", config={}, parents=[parent("data", data)]) as run:
        run.publish("model", save)
    with RunDir.open(root / "stages/ppo", stage="ppo", config={}, parents=[parent("model", root / "stages/sft")]) as run:
        run.publish("model", save)
        run.result({"reward": 1.0})
    return data


def test_the_walk_goes_from_the_model_to_the_data(tmp_path: Path) -> None:
    data = chain(tmp_path)
    found = [(depth, node.role, node.stage, node.path) for depth, node in lineage(tmp_path / "stages/ppo").walk()]
    assert found == [
        (0, "", "ppo", tmp_path / "stages/ppo"),
        (1, "model", "sft", tmp_path / "stages/sft/model"),
        (2, "data", None, data),
    ]
    assert labelers(data) == ["L01", "L02"]


def test_an_untouched_chain_verifies(tmp_path: Path) -> None:
    chain(tmp_path)
    findings = verify(tmp_path / "stages/ppo")
    assert {finding.verdict for finding in findings} == {Verdict.SAME}
    assert {finding.path.name for finding in findings} == {"model", "demonstrations.jsonl", "result.json"}


def test_a_changed_file_anywhere_in_the_chain_is_found(tmp_path: Path) -> None:
    data = chain(tmp_path)
    data.write_text(data.read_text() + "\n")
    changed = [finding.path for finding in verify(tmp_path / "stages/ppo/model") if finding.verdict is Verdict.CHANGED]
    assert changed == [data]


def test_a_deleted_parent_is_missing(tmp_path: Path) -> None:
    data = chain(tmp_path)
    data.unlink()
    assert [f.path for f in verify(tmp_path / "stages/ppo") if f.verdict is Verdict.MISSING] == [data]


def test_a_pipeline_folder_can_be_moved_and_still_verifies(tmp_path: Path) -> None:
    chain(tmp_path / "here")
    shutil.move(tmp_path / "here", tmp_path / "there")
    findings = verify(tmp_path / "there/stages/ppo")
    assert len(findings) == 4
    assert {finding.verdict for finding in findings} == {Verdict.SAME}


def test_a_hub_name_is_kept_and_reported_as_not_hashed(tmp_path: Path) -> None:
    with RunDir.open(tmp_path / "a/b/run", stage="sft", config={}, parents=[parent("model", "someone/some-model")]):
        pass
    findings = verify(tmp_path / "a/b/run")
    assert [(str(f.path), f.verdict) for f in findings] == [("someone/some-model", Verdict.UNHASHED)]
