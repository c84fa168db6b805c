"""The page as text: complete, offline, escaped, and honest about what is missing."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from instructloop.core.errors import CheckpointError, DataError
from instructloop.core.files import read_json, write_json, write_jsonl
from instructloop.report import render, write_report
from instructloop.report.compare import palette, rival, same_name
from instructloop.report.costs import cost_view, told
from instructloop.report.marks import verdict, win_of
from instructloop.report.numbers import Estimate
from instructloop.report.read import read_stories, read_story
from instructloop.runs.ledger import ledger
from instructloop.testing.pipelines import write_pipeline


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pipeline(tmp_path_factory.mktemp("pipeline"))


@pytest.fixture(scope="module")
def page(pipeline: Path) -> str:
    return render(pipeline)


class _Text(HTMLParser):
    """What a reader sees, and every tag with its attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def parsed(html: str) -> _Text:
    reader = _Text()
    reader.feed(html)
    return reader


def test_the_sections_follow_the_loop(page: str) -> None:
    found = re.findall(r'<section id="(\w+)"', page)
    assert found == [
        "loop",
        "alarms",
        "build",
        "pretrain",
        "sft",
        "sample",
        "label",
        "rm",
        "ppo",
        "wins",
        "tax",
        "samples",
        "costs",
        "card",
        "origin",
    ]


def test_every_win_rate_of_the_file_is_on_the_page_with_interval_and_n(pipeline: Path, page: str) -> None:
    text = " ".join(" ".join(parsed(page).words).split())
    table = read_json(pipeline / "stages/evaluation/eval/gold.json")
    for row in table["wins"]:
        shown = f"{100 * row['win_rate']:.1f}\u202f% [{100 * row['low']:.1f}, {100 * row['high']:.1f}]".replace("100.0]", "100]")
        assert " ".join(shown.split()) in text, row


def test_the_headline_names_the_start_of_training_beside_the_sft_model(tmp_path: Path) -> None:
    out = write_pipeline(tmp_path / "p", prompts=40)
    table = read_json(out / "stages/evaluation/eval/gold.json")
    write_json(out / "stages/evaluation/eval/gold.json", {**table, "reference": "few-shot"})
    row = next(row for row in table["wins"] if (row["a"], row["b"]) == ("ppo-ptx", "few-shot"))
    text = " ".join(" ".join(parsed(render(out)).words).split())
    assert f"Against few-shot, where its training began: {100 * row['win_rate']:.1f} %" in text


def test_nothing_on_the_page_points_outside(page: str) -> None:
    for tag, attributes in parsed(page).tags:
        for name in ("src", "href", "action", "data", "poster", "srcset", "xlink:href"):
            target = attributes.get(name) or ""
            assert target.startswith(("#", "data:")) or not target, f"<{tag} {name}={target}>"
        assert tag not in {"iframe", "object", "embed", "base"}
    assert "@import" not in page
    assert "url(" not in page
    policy = next(attributes["content"] for _, attributes in parsed(page).tags if attributes.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'")


def test_the_policy_knows_the_hash_of_the_script_that_is_there(page: str) -> None:
    import base64
    import hashlib

    script = re.search(r"<script>(.*?)</script>", page, re.DOTALL)
    assert script is not None
    assert base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode() in page
    assert not any("style" in attributes for _, attributes in parsed(page).tags), "inline styles would break the policy"


def test_text_of_models_stays_text(tmp_path: Path) -> None:
    hostile = "</script><script>alert(1)</script><img src=x onerror=alert(2)>{{ 7*7 }}"
    page = render(write_pipeline(tmp_path / "p", prompts=30, hostile=hostile))
    reader = parsed(page)
    assert "img" not in {tag for tag, _ in reader.tags}
    assert page.count("<script>") == 1
    assert not any(name.startswith("on") for _, attributes in reader.tags for name in attributes)
    assert "{{ 7*7 }}" in " ".join(reader.words)


def test_the_same_files_give_the_same_page(pipeline: Path, page: str) -> None:
    assert render(pipeline) == page


def test_a_single_run_has_a_report_too(pipeline: Path) -> None:
    path = write_report(pipeline / "stages/ppo")
    assert path == pipeline / "stages/ppo/report.html"
    page = path.read_text()
    assert '<section id="ppo"' in page
    assert '<section id="loop"' not in page
    assert "mean sequence KL 3.12 nats is above 3" in page
    path.unlink()


def test_a_failed_and_half_written_pipeline_is_told_as_it_is(tmp_path: Path) -> None:
    out = write_pipeline(tmp_path / "p", prompts=30)
    plan = read_json(out / "pipeline.json")
    plan["stages"][6] |= {"state": "failed", "error": "ppo/kl is inf <b>"}
    plan["stages"][7]["state"] = "waiting"
    write_json(out / "pipeline.json", plan)
    (out / "stages/ppo/metrics.jsonl").write_text('{"step": 1, "ppo/kl": 0.5, "ppo/reward": 0.1}\n{"step": 2, "ppo/')
    for file in ("evaluation/eval/gold.json", "ppo_ptx/metrics.jsonl", "ppo_ptx/config.json", "rm/result.json"):
        (out / "stages" / file).unlink()
    page = render(out)
    assert "Not finished: ppo, ppo_ptx." in page
    assert "ppo/kl is inf &lt;b&gt;" in page
    assert "Who wins" not in page


def test_a_metric_that_no_panel_knows_is_still_drawn(tmp_path: Path) -> None:
    write_json(tmp_path / "config.json", {"schema_version": 1, "stage": "sft", "config": {}})
    write_jsonl(tmp_path / "metrics.jsonl", [{"step": step, "sft/surprise": float(step)} for step in range(5)])
    assert "surprise" in render(tmp_path)


def test_a_directory_that_is_no_run_is_refused_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="neither a pipeline nor a run") as caught:
        write_report(tmp_path)
    assert caught.value.hint is not None


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "pipeline.json").write_text("{")
    with pytest.raises(DataError, match="pipeline.json:1"):
        write_report(tmp_path)


def test_the_story_knows_which_stage_a_path_lies_in(pipeline: Path) -> None:
    story = read_story(pipeline)
    found = story.stage_of("/elsewhere/run/stages/rm/model")
    assert found is not None
    assert found.name == "rm"
    assert story.stage_of("/elsewhere/prompts.jsonl") is None


def test_a_win_rate_is_found_in_either_direction() -> None:
    row = {"wins": [{"a": "x", "b": "y", "win_rate": 0.75, "low": 0.5, "high": 0.875, "n": 8, "ties": 2}]}
    assert win_of(row, "y", "x") == Estimate(0.25, 0.125, 0.5, 8, share=True, ties=2)
    assert win_of(row, "x", "z") is None


@pytest.mark.parametrize(
    ("low", "high", "word"), [(0.51, 0.6, "better"), (0.4, 0.49, "worse"), (0.4, 0.6, "undecided"), (0.5, 0.6, "undecided")]
)
def test_a_verdict_needs_an_interval_that_excludes_one_half(low: float, high: float, word: str) -> None:
    assert verdict(Estimate(0.5, low, high, 9)) == word


def test_the_rival_of_the_last_model_is_the_sft_model() -> None:
    assert rival(["base", "sft", "ppo", "ppo-ptx"]) == "sft"
    assert rival(["a", "b"]) == "a"
    assert rival(["a"]) is None
    assert same_name("PPO-ptx", "ppo_ptx")


def test_a_cross_validation_is_shown_with_its_own_kind_of_spread(tmp_path: Path) -> None:
    write_json(tmp_path / "config.json", {"schema_version": 1, "stage": "rm", "config": {}})
    own, others = {"accuracy": 0.724, "std_over_seeds": 0.004, "pairs": 900}, {"accuracy": 0.696, "std_over_seeds": 0.009, "pairs": 800}
    folds = {"groups": 5, "seeds": 3, "own_labelers": own, "held_out_labelers": others}
    write_json(tmp_path / "result.json", {"schema_version": 1, "cross_validation": folds})
    text = " ".join(" ".join(parsed(render(tmp_path)).words).split())
    assert "5 labeler groups; brackets are one standard deviation over 3 seeds" in text
    assert "72.4 % [72.0, 72.8] n 900" in text
    assert "69.6 % [68.7, 70.5] n 800" in text


def test_a_model_has_the_color_of_its_kind_and_no_two_share_one() -> None:
    assert palette(["base", "few-shot base", "rl_init", "sft", "ppo", "ppo_ptx"]) == {
        "base": 0,
        "few-shot base": 1,
        "rl_init": 5,
        "sft": 2,
        "ppo": 3,
        "ppo_ptx": 4,
    }
    many = palette([f"sft-{number}" for number in range(8)])
    assert len(set(many.values())) == 8


def test_the_report_is_made_without_torch(pipeline: Path) -> None:
    code = "import sys; from instructloop.report import render; from pathlib import Path; render(Path(sys.argv[1])); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code, str(pipeline)]).returncode == 0


def test_several_runs_stand_side_by_side_and_namesakes_are_told_apart(pipeline: Path, tmp_path: Path) -> None:
    other = write_pipeline(tmp_path / "second", prompts=30, seed=1)
    story = read_stories([pipeline / "stages/ppo", pipeline / "stages/ppo_ptx", other])
    names = [stage.name for stage in story.stages]
    assert names[:2] == ["stages/ppo", "stages/ppo_ptx"]
    assert "second/ppo" in names
    assert "sft" in names, "a name that occurs once stays as it is"
    page = write_report(pipeline / "stages/ppo", pipeline / "stages/ppo_ptx", out=tmp_path / "both.html").read_text()
    assert "ppo · ppo_ptx" in page
    with pytest.raises(CheckpointError, match="no run was given"):
        read_stories([])


def test_the_ledger_counts_once_every_trainer_is_known(tmp_path: Path) -> None:
    out = write_pipeline(tmp_path / "p", prompts=30)
    assert cost_view(read_story(out)).total_compute == "", "the made-up PPO stages have no operations"
    for stage, flops in (("base", 6e12), ("sft", 1e12), ("rm", 1e12), ("ppo", 4e12), ("ppo_ptx", 8e12)):
        file = out / "stages" / stage / "result.json"
        write_json(file, {**read_json(file), "flops": flops, "tokens": 1000})
    view = cost_view(read_story(out))
    assert view.total_compute == "20.0\u202fTFLOP"
    assert [(part.name, part.text) for part in view.parts] == [
        ("pretraining", "30.0\u202f%"),
        ("supervised fine-tuning", "5.0\u202f%"),
        ("reward model", "5.0\u202f%"),
        ("reinforcement learning", "60.0\u202f%"),
    ]
    assert told(ledger(out)) == "cost: 10 min 31 s, 20.0 TFLOP (ppo 60 %, pretrain 30 %, sft 5 %, rm 5 %)"
    # 20e12 / (1e15 * 86 400)
    assert "2.3e-07 petaflop/s-days" in render(out)
