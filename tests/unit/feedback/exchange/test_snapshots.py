"""Snapshots: named by content, written whole, telling what they were made from, and refusing to hide a flipped byte."""

import json
from pathlib import Path

import pytest
from sqlalchemy import func, select

from instructloop.core.errors import DataError
from instructloop.core.hashing import hash_file
from instructloop.feedback.exchange import Selection
from instructloop.feedback.prompts import SplitShares, import_prompts
from instructloop.feedback.schema import Export, PromptOwner, PromptRow, SurveyResponse
from instructloop.feedback.snapshots import check_snapshot, make_snapshot, newest, open_snapshot, snapshots
from instructloop.formats import read_demonstrations, read_prompts, read_rankings
from instructloop.testing import feedback as build
from instructloop.testing.projects import Store


def test_a_snapshot_is_named_by_its_content_and_made_once(answered: Store) -> None:
    first = make_snapshot(answered.project, answered.db, now=1_700_000_000_000)
    files = {file.name: file.read_bytes() for file in first.path.iterdir()}
    second = make_snapshot(answered.project, answered.db, now=1_800_000_000_000)
    assert second.path == first.path == answered.project.snapshots / first.manifest["sha256"][7:19]
    assert {file.name: file.read_bytes() for file in first.path.iterdir()} == files
    with answered.db.read() as session:
        assert session.scalar(select(func.count()).select_from(Export)) == 1


def test_the_manifest_says_what_it_was_made_from(answered: Store) -> None:
    made = make_snapshot(answered.project, answered.db, now=1_700_000_000_000)
    manifest = json.loads((made.path / "manifest.json").read_text())
    assert manifest["labelers"] == [
        {"code": "L001", "cohort": "training", "kind": "human", "answers": 18},
        {"code": "L002", "cohort": "training", "kind": "human", "answers": 18},
    ]
    (guideline,) = manifest["guidelines"]
    assert (guideline["guideline"], guideline["mode"], guideline["answers"]) == ("default@1", "training", 36)
    (parent,) = manifest["parents"]
    assert (parent["role"], parent["model"], parent["stage"]) == ("completions", "secret-model-name", "sft")
    assert parent["sha256"].startswith("sha256:")
    assert manifest["left_out"] == {"cohort_heldout": 18}
    assert manifest["created"] == "2023-11-14T22:13:20+00:00"
    assert manifest["rules"]["labelers"] == "cohorts training"
    for name, entry in manifest["files"].items():
        assert hash_file(made.path / name) == entry["sha256"], name


def test_trainers_find_their_files(answered: Store) -> None:
    made = make_snapshot(answered.project, answered.db)
    demonstrations, rankings, prompts = made.file("demonstrations"), made.file("rankings"), made.file("prompts")
    assert demonstrations is not None
    assert rankings is not None
    assert prompts is not None
    assert len(read_demonstrations(demonstrations)) == 8
    # rankings of three kinds of task, and votes as rankings of two
    assert sorted(len(ranking.completions) for ranking in read_rankings(rankings)) == [2] * 4 + [3] * 12
    assert len(read_prompts(prompts)) == 18
    assert made.file("pairs") is None
    assert made.file("rankings", "valid") is None


def test_validation_prompts_have_files_of_their_own_and_test_prompts_none(answered: Store) -> None:
    with answered.db.write() as session:
        owners = {}
        for prompt in session.scalars(select(PromptRow)):
            if prompt.text is not None and prompt.text.startswith("rank queue prompt"):
                owners[prompt.owner_hash] = "valid" if "prompt 0" in prompt.text else "test"
        for owner, split in owners.items():
            row = session.scalars(select(PromptRow).where(PromptRow.owner_hash == owner)).one()
            fresh = f"{owner[:-4]}{split[:4].encode().hex()[:4]}"
            session.add(PromptOwner(owner_hash=fresh, split=split))
            session.flush()
            row.owner_hash, row.split = fresh, split
    made = make_snapshot(answered.project, answered.db)
    valid, train = made.file("rankings", "valid"), made.file("rankings")
    assert valid is not None
    assert train is not None
    assert [json.loads(line)["prompt"][:19] for line in valid.read_text().splitlines()] == ["rank queue prompt 0"] * 2
    assert "rank queue prompt" not in train.read_text().replace("rate_and_rank queue", "")
    assert made.manifest["left_out"] == {"cohort_heldout": 18, "split_test": 2}


def test_a_new_answer_makes_a_new_snapshot_and_the_newest_is_found(answered: Store) -> None:
    first = make_snapshot(answered.project, answered.db, now=1_000)
    queue = build.seed_ranking_queue(answered.db, prompts=1, k=2, name="more")
    answered.consent()
    answered.answer(build.add_labeler(answered.db, "L003"), queue, "rank")
    second = make_snapshot(answered.project, answered.db, now=2_000)
    assert second.name != first.name
    (answered.project.snapshots / "0123.partial").mkdir()
    assert [item.name for item in snapshots(answered.project)] == [first.name, second.name]
    assert newest(answered.project).name == second.name
    assert open_snapshot(second.path).manifest == second.manifest


def test_no_snapshot_of_nothing(store: Store) -> None:
    with pytest.raises(DataError, match="there is nothing for a snapshot") as caught:
        make_snapshot(store.project, store.db)
    assert caught.value.hint == "nobody has answered anything yet"
    with pytest.raises(DataError, match="has no snapshot yet"):
        newest(store.project)


def test_simulated_labelers_are_asked_for_by_name(store: Store) -> None:
    queue = build.seed_ranking_queue(store.db, prompts=1, k=2)
    store.consent()
    store.answer(build.add_labeler(store.db, "S001", cohort="simulated"), queue, "rank")
    with pytest.raises(DataError, match="nothing for a snapshot") as caught:
        make_snapshot(store.project, store.db)
    assert caught.value.hint == "left out: 1 cohort_simulated; take simulated labelers: --cohorts simulated"
    assert make_snapshot(store.project, store.db, selection=Selection(cohorts=("simulated",))).file("rankings") is not None


@pytest.mark.parametrize("name", ["rankings.jsonl", "data-card.md", "prompts.jsonl"])
def test_one_flipped_byte_is_found(answered: Store, name: str) -> None:
    made = make_snapshot(answered.project, answered.db)
    assert check_snapshot(made) == []
    body = bytearray((made.path / name).read_bytes())
    body[len(body) // 2] ^= 1
    (made.path / name).write_bytes(bytes(body))
    assert check_snapshot(made) == [f"{made.path / name}: was changed"]


def test_missing_added_and_rewritten_files_are_found(answered: Store) -> None:
    made = make_snapshot(answered.project, answered.db)
    (made.path / "votes.jsonl").unlink()
    (made.path / "extra.txt").write_text("x")
    manifest = json.loads((made.path / "manifest.json").read_text())
    manifest["files"]["rankings.jsonl"]["sha256"] = "sha256:" + "0" * 64
    (made.path / "manifest.json").write_text(json.dumps(manifest))
    assert check_snapshot(open_snapshot(made.path)) == [
        f"{made.path / 'rankings.jsonl'}: was changed",
        f"{made.path / 'votes.jsonl'}: is missing",
        f"{made.path / 'extra.txt'}: does not belong to the snapshot",
        f"{made.path / 'manifest.json'}: does not fit the folder's name",
    ]


def test_a_crash_leaves_no_snapshot(answered: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: object) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patched:
        patched.setattr("instructloop.feedback.snapshots.write_json", crash)
        with pytest.raises(OSError, match="disk full"):
            make_snapshot(answered.project, answered.db)
    assert list(answered.project.snapshots.iterdir()) == []
    assert check_snapshot(make_snapshot(answered.project, answered.db)) == []


def test_other_folders_are_no_snapshot(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"manifest\.json is missing"):
        open_snapshot(tmp_path)
    (tmp_path / "manifest.json").write_text('{"format": "instructloop-export"}')
    with pytest.raises(DataError, match="is not the manifest of a snapshot"):
        open_snapshot(tmp_path)


def test_the_data_card_tells_who_labeled_and_how_much_they_agree(answered: Store) -> None:
    with answered.db.write() as session:
        session.add_all(
            SurveyResponse(kind="satisfaction", month="2026-11", answers={"paid_fairly": ["agree"], "comment": ["x" * 50]})
            for _ in range(5)
        )
        session.add_all(SurveyResponse(kind="demographics", month="2026-11", answers={"age": ["25_34"]}) for _ in range(4))
    card = (make_snapshot(answered.project, answered.db).path / "data-card.md").read_text()
    assert "| training | human | 2 | 36 | 18 to 18 |" in card
    assert "| default@1 | training |" in card
    # everybody gave the same order in 6 tasks, measured with the held-out labeler too; Wilson's lower bound is 6 / (6 + 1.96^2)
    assert "| training and training | 100.0% (61.0% to 100.0%)" in card
    assert "| training and heldout | 100.0%" in card
    assert "| The pay for the work was fair. | Agree | 5 |" in card
    assert "Demographics: fewer than 5 answers, not shown." in card
    assert "xxxx" not in card
    assert "H001" not in card
    assert "answers are not of people" not in card


def test_responses_of_few_shot_templates_are_demonstrations_of_the_snapshot(store: Store, tmp_path: Path) -> None:
    template = {
        "kind": "fewshot",
        "source": "labeler",
        "owner": "labeler 7",
        "instruction": "Give the opposite of the word.",
        "examples": [{"query": "hot", "response": "cold"}, {"query": "early", "response": "late"}, {"query": "full", "response": "empty"}],
    }
    file = tmp_path / "templates.jsonl"
    file.write_text(json.dumps(template) + "\n", encoding="utf-8")
    import_prompts(store.project, file, database=store.db, shares=SplitShares(train=1.0, valid=0.0, test=0.0))
    made = make_snapshot(store.project, store.db)
    found = read_demonstrations(str(made.file("demonstrations"))).records
    assert {row.completion for row in found} == {"cold", "late", "empty"}
    for row in found:
        assert row.completion not in str(row.prompt)  # its own pair is not among the shown ones
        assert row.meta["written_with"] == "few-shot template"
