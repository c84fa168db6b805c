"""The model card: from files alone, with people as numbers, hashes instead of folders, and limits that fit the model."""

from pathlib import Path

import pytest

from instructloop.core.errors import CheckpointError
from instructloop.core.files import read_json, write_json, write_jsonl
from instructloop.runs import Parent, RunDir
from instructloop.runs.card import as_markdown, model_card
from instructloop.runs.card_files import write_cards
from instructloop.runs.card_words import limits_of
from instructloop.runs.lineage import parent, verify


def _model(place: Path) -> None:
    write_json(place / "config.json", {"architectures": ["Made"]})
    (place / "README.md").write_text("# to be written anew\n")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    place = tmp_path / "home" / "secret-person" / "small-base"
    write_json(place / "config.json", {"architectures": ["Made"]})
    (place / "README.md").write_text("---\nlicense: apache-2.0\ntags:\n- text\n---\n# A base\n")
    return place


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    place = tmp_path / "snapshot"
    labelers = [{"code": f"L0{n}", "cohort": "training", "kind": "human", "answers": 20} for n in range(1, 4)]
    manifest = {
        "format": "instructloop-snapshot",
        "files": {},
        "labelers": [*labelers, {"code": "L09", "cohort": "heldout", "kind": "human", "answers": 5}],
        "selection": {"prompt_sources": ["api", "labeler"]},
        "rules": {"consent": "prompts of customers need a consent in force"},
        "guidelines": [{"guideline": "default@2", "title": "Judging outputs", "mode": "training", "sha256": "sha256:ab", "answers": 65}],
    }
    write_json(place / "manifest.json", manifest)
    (place / "data-card.md").write_text(
        "# Data card\n\n## How much they agree\n\nPairs of labelers agree on 71 % of 40 pairs.\n\n| a | b |\n\n## Prompts\n\nx\n"
    )
    return place


def _sft(out: Path, base: Path, data: Path) -> Path:
    parents = [parent("base", base), parent("demonstrations", data)]
    with RunDir.open(out, stage="sft", config={"epochs": 2, "model": str(base), "seed": 3}, parents=parents) as run:
        run.publish("model", _model)
        run.result({"demonstrations": 1200, "parameters": 5_000_000, "selected_by": "rm_score"})
    return out


def test_a_card_says_what_was_trained_on_what_without_anybody_s_folders(tmp_path: Path, base: Path, snapshot: Path) -> None:
    text = as_markdown(model_card(_sft(tmp_path / "runs" / "sft", base, snapshot)))
    digits = parent("base", base).sha256.removeprefix("sha256:")[:12]  # type: ignore[union-attr]
    assert f"- base: small-base `{digits}`" in text
    assert "- Demonstrations: 1,200" in text
    assert "- Selected by: rm score" in text
    assert "secret-person" not in text
    assert str(tmp_path) not in text


def test_labelers_are_counted_and_never_named(tmp_path: Path, base: Path, snapshot: Path) -> None:
    text = as_markdown(model_card(_sft(tmp_path / "sft", base, snapshot)))
    assert "4 under pseudonymous codes (3 training human, 1 heldout human), 65 answers" in text
    assert "L01" not in text
    assert "- Prompts from: api, labeler" in text
    assert "a consent in force" in text
    assert "- Agreement: Pairs of labelers agree on 71 % of 40 pairs." in text
    assert "simulated" not in text


def test_data_without_a_record_of_labelers_are_called_so(tmp_path: Path, base: Path) -> None:
    file = tmp_path / "demonstrations.jsonl"
    write_jsonl(file, [{"prompt": "a", "completion": "b"}])
    assert "files without a record of who labeled" in as_markdown(model_card(_sft(tmp_path / "sft", base, file)))


def test_the_licence_is_the_one_the_base_names(tmp_path: Path, base: Path, snapshot: Path) -> None:
    text = as_markdown(model_card(_sft(tmp_path / "sft", base, snapshot)))
    assert text.startswith("---\nlicense: apache-2.0\n---\n\n# An instruction-following model (SFT)\n")
    assert "its card says apache-2.0" in text
    (base / "README.md").unlink()
    silent = as_markdown(model_card(_sft(tmp_path / "sft2", base, snapshot)))
    assert silent.startswith("# An instruction")
    assert "does not say under which licence" in silent
    (base / "LICENSE").write_text("terms")
    assert "its directory holds LICENSE" in as_markdown(model_card(tmp_path / "sft2"))


def test_evaluations_come_with_interval_n_and_voter(tmp_path: Path, base: Path, snapshot: Path) -> None:
    run = _sft(tmp_path / "sft", base, snapshot)
    evaluation = tmp_path / "eval-run"
    write_json(evaluation / "config.json", {"stage": "evaluate", "config": {"models": [f"mine={run}", f"base={base}"]}})
    win = {"a": "mine", "b": "base", "win_rate": 0.625, "low": 0.5, "high": 0.75, "n": 64}
    write_json(
        evaluation / "eval" / "people.json", {"kind": "comparison", "voter": "people", "wins": [win, {**win, "a": "base", "b": "mine"}]}
    )
    suite = {"suite": "squadv2", "title": "SQuADv2", "variant": "zero-shot", "metric": "F1", "unit": "points", "signature": "v2"}
    result = {"mine": {"value": 41.25, "low": 35.0, "high": 47.5, "n": 100}, "base": {"not_run": "no"}}
    write_json(evaluation / "eval" / "suites.json", {"kind": "suites", "rows": [{**suite, "results": result}]})
    text = as_markdown(model_card(run, evaluations=[evaluation]))
    assert "- Preferred over base by people: 62.5 % [50.0, 75.0], n 64" in text
    assert "- SQuADv2 zero-shot F1: 41.2 [35, 47.5], n 100; v2" in text
    assert "Preferred over mine" not in text
    other = _sft(tmp_path / "other", base, snapshot)
    assert "has not been evaluated yet" in as_markdown(model_card(other, evaluations=[evaluation]))


def test_ringing_alarms_of_the_run_are_on_its_card(tmp_path: Path, base: Path, snapshot: Path) -> None:
    run = _sft(tmp_path / "sft", base, snapshot)
    alarms = [
        {"title": "Length drifts", "state": "alarm", "measured": 1.84, "threshold": 1.5, "unit": "times"},
        {"title": "Far away", "state": "ok", "measured": 1.0, "threshold": 6.0, "unit": "nats"},
    ]
    write_json(run / "eval" / "observatory.json", {"kind": "observatory", "alarms": alarms})
    text = as_markdown(model_card(run))
    assert "- Alarm: Length drifts: 1.84 times (threshold 1.5)" in text
    assert "Far away" not in text


def test_limits_fit_the_kind_and_the_size() -> None:
    assert "5,000,000 parameters it is a toy" in limits_of("ppo", 5_000_000)[0]
    assert "it is small" in limits_of("sft", 60_000_000)[0]
    assert not any("parameters" in one for one in limits_of("sft", 7_000_000_000))
    for kind in ("sft", "ppo"):
        told = " ".join(limits_of(kind))
        for word in ("repeats", "false things", "language", "weights", "vary", "prejudices", "harmful"):
            assert word in told, word
    assert any("length" in one for one in limits_of("rm"))
    assert "follows no instruction" in limits_of("pretrain")[0]


def test_a_damaged_parent_costs_the_origin_and_not_the_card(tmp_path: Path) -> None:
    with RunDir.open(tmp_path / "sft", stage="sft", config={}, parents=[Parent("base", str(tmp_path / "up" / "model"), None)]) as run:
        run.result({})
    (tmp_path / "up" / "model").mkdir(parents=True)
    for name in ("lineage.json", "status.json"):
        (tmp_path / "up" / name).write_text("{")
    text = as_markdown(model_card(tmp_path / "sft"))
    assert text.startswith("# An instruction-following model")
    assert "Made from" not in text


def test_writing_a_card_changes_no_hash(tmp_path: Path, base: Path, snapshot: Path) -> None:
    run = _sft(tmp_path / "sft", base, snapshot)
    before = read_json(run / "artifacts.json")
    (file,) = write_cards(run)
    assert file == run / "model" / "README.md"
    assert "# An instruction-following model" in file.read_text()
    assert read_json(run / "artifacts.json") == before
    assert {str(finding.verdict) for finding in verify(run)} == {"same"}


def test_where_there_is_no_model_there_is_no_card(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="neither a pipeline nor a run"):
        write_cards(tmp_path)
    with RunDir.open(tmp_path / "run", stage="sft", config={}):
        pass
    with pytest.raises(CheckpointError, match="no model has been published"):
        write_cards(tmp_path / "run")
