"""The command line: immediate help, examples, two kinds of errors."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from instructloop.cli.main import VERBS, main


def run_fresh(*words: str) -> subprocess.CompletedProcess[str]:
    """In a new interpreter, telling on standard error which heavy packages were imported."""
    code = (
        "import sys\nfrom instructloop.cli.main import main\n"
        "try:\n    code = main(sys.argv[1:])\nexcept SystemExit as end:\n    code = end.code\n"
        "heavy = sorted({name.split('.')[0] for name in sys.modules} & {'torch', 'transformers', 'peft', 'matplotlib'})\n"
        "print('imported:', heavy, file=sys.stderr)\nsys.exit(code)\n"
    )
    return subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)


def test_help_lists_every_verb_without_torch_in_under_a_third_of_a_second() -> None:
    fastest = float("inf")
    for _ in range(3):
        began = time.perf_counter()
        done = run_fresh("--help")
        fastest = min(fastest, time.perf_counter() - began)
        assert "imported: []" in done.stderr
        assert all(name in done.stdout for name in VERBS)
        if fastest < 0.3:
            break
    assert fastest < 0.3


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"], ["train", "sft", "--help"], ["--version"]])
def test_a_reader_that_has_gone_ends_the_command_quietly(words: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)  # as after `instructloop --help | head -1`
    command = [sys.executable, "-m", "instructloop", *words]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert done.stderr == ""
    assert done.returncode == 0


@pytest.mark.parametrize("name", list(VERBS))
def test_every_verb_explains_itself_with_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*name.split(), "--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert "Example:" in shown
    assert f"instructloop {name}" in VERBS[name].example
    assert VERBS[name].example in " ".join(shown.split())


@pytest.mark.parametrize("name", ["run", "train ppo", "chat", "doctor", "miniature evaluate"])
def test_help_of_a_verb_does_not_import_torch(name: str) -> None:
    assert "imported: []" in run_fresh(*name.split(), "--help").stderr


def test_a_group_alone_lists_its_verbs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train"]) == 0
    assert "train ppo" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "error", "hint"),
    [
        (["trian"], "no command is called 'trian'", "did you mean 'instructloop train'"),
        (["train", "pppo"], "no command is called 'train pppo'", "train ppo"),
        (["run", "minature"], "no recipe is called 'minature'", "did you mean 'miniature'"),
        (["train", "sft", "--out", "x"], "sft.model is empty", "--model"),
        (["train", "sft", "--model", "m"], "no run directory is named", "--out"),
        (["train", "ppo", "--reward-args", "{", "--out", "x"], "--reward-args is not JSON", "--reward-args"),
        (["lineage", "nowhere"], "no such path: nowhere", "give a run directory"),
        (["export", "nowhere", "copy"], "nowhere holds no model", "give a run"),
        (["doctor", "nowhere"], "is no recipe, run or pipeline", "presets"),
        (["sample", "--out", "x"], "sample.models is empty", "--models"),
        (["miniature", "label", "--out", "x"], "miniature.label needs completions", "--completions"),
        (["report", "nowhere"], "no such directory: nowhere", "give the directory"),
    ],
)
def test_mistakes_give_an_error_a_hint_and_exit_code_2(
    words: list[str], error: str, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    lines = capsys.readouterr().err.splitlines()[-2:]
    assert lines[0].startswith("error: ")
    assert error in lines[0]
    assert lines[1].startswith("hint: ")
    assert hint in lines[1]


def test_our_own_bugs_keep_their_traceback_and_exit_with_1(tmp_path: Path) -> None:
    """A plug-in module that raises stands for a bug: it is no error of the family."""
    code = (
        "import sys, instructloop.cli.main as m\n"
        "m.VERBS['lineage'] = m.Verb('provenance:no_such_function', '', '')\n"
        "sys.exit(m.main(['lineage', 'x']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "error:" not in done.stderr.splitlines()[0]


def test_a_config_file_gives_defaults_and_the_command_line_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from instructloop.cli.arguments import parse_stage
    from instructloop.config import SFTConfig

    (tmp_path / "sft.toml").write_text('model = "base"\nepochs = 5\n[optimizer]\nlr = 0.25\nschedule = "linear"\n')
    words = ["--config", str(tmp_path / "sft.toml"), "--out", "runs/x", "--epochs", "2", "--optimizer.lr", "0.5", "--resume"]
    cfg, given = parse_stage(SFTConfig, words, "instructloop train sft")
    assert (cfg.model, cfg.epochs, cfg.optimizer.lr, cfg.optimizer.schedule) == ("base", 2, 0.5, "linear")
    assert (given.out, given.resume) == ("runs/x", True)


def test_the_reward_can_be_named_in_three_ways() -> None:
    from instructloop.cli.train import chosen_reward
    from instructloop.config import RewardSpec

    spec = RewardSpec(name="length_band", args={"low": 1})
    assert chosen_reward(spec, "", "") == spec
    assert chosen_reward(spec, "runs/rm", "") == RewardSpec(name="model", args={"path": "runs/rm"})
    assert chosen_reward(spec, "", '{"low": 2, "high": 9}').args == {"low": 2, "high": 9}


def test_the_presets_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--list"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in ("miniature", "laptop", "paper-1.3b"))


def test_the_plan_shows_what_waits_for_what(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "miniature", "--plan"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["build", "miniature.build"]
    assert any(line.startswith("rm ") and "after rl_init, label, build" in line for line in lines)
