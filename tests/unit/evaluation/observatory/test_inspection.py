"""``instructloop inspect`` from end to end: files alone, models, caching, the document's layout."""

import json

import pytest

from instructloop.cli.main import main
from instructloop.config import InspectionConfig
from instructloop.core.errors import CheckpointError, ConfigError
from instructloop.core.files import read_json
from instructloop.evaluation.observatory import KINDS, inspect

FILES = InspectionConfig(models="no")


def reply(prompt: str, text: str, proxy: float, held_out: float) -> dict:
    return {"prompt": prompt, "meta": {}, "completion": text, "tokens": len(text), "ended": True, "proxy": proxy, "held_out": [held_out]}


@pytest.fixture
def hacked(make_run):
    """Twelve prompts: the reference's replies differ; the policy writes one sentence that the reward likes and the judge does not."""
    reference = [reply(f"q{i}", f"answer {i} is {i * i}", i % 3, i % 3 + 0.3 * (i % 4 == 0)) for i in range(12)]
    middle = [reply(f"q{i}", f"answer {i} is {i * i} indeed", i % 3 + 1, i % 3 + 0.5) for i in range(12)]
    policy = [reply(f"q{i}", "Certainly, this is right.", i % 3 + 4, i % 3 - 1) for i in range(12)]
    metrics = [
        {"step": s, "ppo/kl": 2.0 * s, "ppo/reward": float(s), "ppo/entropy": 0.5, "ppo/length": 9.0, "ppo/eos_rate": 1.0}
        for s in range(1, 6)
    ]
    return make_run(metrics=metrics, watch={0: reference, 2: middle, 4: policy}, config={"beta": 0.01, "sampling": {}})


def states(document) -> dict[str, str]:
    return {alarm["kind"]: alarm["state"] for alarm in document["alarms"]}


def test_a_hacked_run_rings_from_its_files_alone(hacked) -> None:
    (file,) = inspect(hacked, FILES)
    assert file == hacked / "eval" / "observatory.json"
    found = read_json(file)
    rang = states(found)
    ringing = {"unconfirmed", "falling", "disagreement", "kl", "variety", "hack_patterns", "length"}
    assert {kind for kind, state in rang.items() if state == "alarm"} == ringing
    assert rang["past_peak"] == "not measured"
    assert (found["kind"], found["stage"], found["schema_version"]) == ("observatory", "ppo", 1)


def test_every_alarm_comes_once_with_what_it_means_and_what_to_try(hacked) -> None:
    alarms = read_json(inspect(hacked, FILES)[0])["alarms"]
    assert len({alarm["kind"] for alarm in alarms}) == len(alarms)
    for alarm in alarms:
        assert set(alarm) == {"kind", "title", "state", "measured", "threshold", "unit", "explanation", "examples", "next", "step"}
        assert alarm["kind"] in KINDS
        assert alarm["explanation"]
        assert alarm["next"]


def test_the_document_has_the_layout_that_the_report_draws(hacked) -> None:
    for section in read_json(inspect(hacked, FILES)[0])["sections"]:
        assert set(section) == {"name", "title", "text", "charts", "tables", "samples"}
        for chart in section["charts"]:
            assert set(chart) == {"title", "x_label", "y_label", "series", "marks"}
            assert all(len(point) in (2, 4) for series in chart["series"] for point in series["points"])
        for table in section["tables"]:
            assert all(len(row) == len(table["columns"]) for row in table["rows"]), table["title"]
        for sample in section["samples"]:
            assert set(sample) == {"prompt", "completion", "note", "score"}


def test_the_same_inputs_are_not_examined_twice_and_new_ones_are(hacked) -> None:
    (file,) = inspect(hacked, FILES)
    before = file.stat().st_mtime_ns
    inspect(hacked, FILES)
    assert file.stat().st_mtime_ns == before
    with (hacked / "metrics.jsonl").open("a") as metrics:
        metrics.write(json.dumps({"step": 6, "ppo/kl": 30.0, "ppo/reward": 9.0}) + "\n")
    inspect(hacked, FILES)
    assert file.stat().st_mtime_ns > before


def test_gold_of_the_users_own_finds_the_peak(hacked, tmp_path) -> None:
    module = tmp_path / "mine.py"
    module.write_text(
        "def gold(prompts, completions):\n    return [float(('indeed' in c) - ('Certainly' in c)) + 0.1 * (len(c) % 3) for c in completions]\n"
    )
    (file,) = inspect(hacked, InspectionConfig(models="no", gold=f"{module}:gold"))
    found = read_json(file)
    assert states(found)["past_peak"] == "alarm"
    text = next(section for section in found["sections"] if section["name"] == "proxy_gold")["text"]
    assert "By gold, the best point measured is at KL 6.00 nats" in text  # the rollouts after iteration 2


def test_a_run_without_a_watch_is_inspected_from_its_samples(make_run) -> None:
    def sample(text, reward):
        return {"prompt": "p", "completion": text, "reward": reward, "score": reward, "kl": 1.0, "tokens": 3, "ended": True}

    metrics = [{"step": s, "ppo/kl": 0.1 * s, "ppo/reward": 0.2 * s, "ppo/entropy": 0.02} for s in (1, 2)]
    run = make_run(metrics=metrics, samples={1: [sample("one two", 0.0)], 2: [sample("three", 1.0)]})
    found = read_json(inspect(run, FILES)[0])
    assert states(found)["entropy"] == "alarm"
    assert states(found)["unconfirmed"] == "not measured"
    assert any(section["name"] == "top" for section in found["sections"])


def test_runs_of_a_pipeline_are_each_others_frontier(make_run, tmp_path) -> None:
    metrics = [{"step": s, "ppo/kl": 1.0, "ppo/reward": 1.0} for s in (1, 2)]
    for name in ("one", "two"):
        make_run(f"stages/{name}", metrics=metrics, config={"beta": 0.1})
    for file in inspect(tmp_path, FILES):
        section = next(one for one in read_json(file)["sections"] if one["name"] == "frontier")
        assert {row[0] for row in section["tables"][0]["rows"]} == {"one", "two"}


def test_what_is_named_and_not_there_is_refused_before_anything_is_done(hacked) -> None:
    with pytest.raises(ConfigError, match="inspect.ensemble: no such path"):
        inspect(hacked, InspectionConfig(ensemble=("gone",)))
    assert not (hacked / "eval").exists()


def test_models_that_are_wanted_and_gone_are_named(hacked) -> None:
    with pytest.raises(ConfigError, match="has no model"):
        inspect(hacked, InspectionConfig(models="yes"))


def test_the_command_prints_alarms_first_and_says_what_to_try(hacked, capsys) -> None:
    assert main(["inspect", str(hacked), "--models", "no"]) == 0
    shown = capsys.readouterr().out
    assert shown.index("ALARM") < shown.index("NOT MEASURED")
    assert "next: Roll back" in shown
    with pytest.raises(CheckpointError):
        inspect(hacked / "watch", FILES)
