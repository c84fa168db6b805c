"""The pipeline on a tiny model: everything once, then only what changed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from instructloop.core.errors import CheckpointError, DataError
from instructloop.core.files import read_json
from instructloop.core.hashing import hash_tree
from instructloop.recipes import State, load_recipe, run_pipeline
from instructloop.runs.lock import take_lock
from instructloop.testing import save_tiny, tiny_model, tiny_tokenizer

RECIPE = """
name = "tiny"
[vars]
seed = 1
steps = 2
[stages.sft]
kind = "sft"
seed = "${seed}"
model = "base"
data = "demonstrations.jsonl"
epochs = 1
max_steps = 4
batch_size = 4
checkpoint = { every_steps = 1 }
[stages.sample]
kind = "sample"
models = ["@sft"]
prompts = "prompts.jsonl"
sampling = { max_new_tokens = 6 }
[stages.rm]
kind = "rm"
model = "@sft"
data = ["rankings.jsonl"]
validation_fraction = 0
[stages.ppo]
kind = "ppo"
model = "@sft"
prompts = "prompts.jsonl"
reward = { name = "model", args = { path = "@rm" } }
steps = "${steps}"
batch_size = 8
minibatches = 2
sampling = { max_new_tokens = 6 }
[stages.compare]
kind = "evaluate"
models = ["sft=@sft", "ppo=@ppo"]
prompts = "held_out.jsonl"
reward_model = "@rm"
bootstrap_samples = 100
sampling = { max_new_tokens = 6 }
"""


def write_rows(name: str, rows: list[dict[str, object]]) -> None:
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    save_tiny("base", tiny_model(), tiny_tokenizer())
    Path("tiny.toml").write_text(RECIPE)
    write_rows("demonstrations.jsonl", [{"prompt": f"say {n}", "completion": f"yes {n}"} for n in range(16)])
    write_rows("prompts.jsonl", [{"prompt": f"ask {n}"} for n in range(8)])
    write_rows("held_out.jsonl", [{"prompt": f"tell {n}"} for n in range(8)])
    write_rows("rankings.jsonl", [{"prompt": f"ask {n}", "completions": ["good", "bad", "worse"], "ranks": [0, 1, 2]} for n in range(8)])
    return tmp_path


def states(overrides: tuple[str, ...] = ()) -> dict[str, str]:
    return {progress.stage.name: progress.state.value for progress in run_pipeline(load_recipe("tiny.toml", overrides), Path("out"))}


def test_the_loop_runs_once_and_then_only_what_changed(folder: Path) -> None:
    assert set(states().values()) == {State.DONE}
    row = next(json.loads(line) for line in Path("out/stages/sample/completions.jsonl").read_text().splitlines())
    assert 2 <= len(row["completions"]) == len(set(row["completions"])) <= 9
    assert {item["state"] for item in read_json(Path("out/pipeline.json"))["stages"]} == {"done"}

    before = hash_tree(Path("out/stages/ppo/model"))
    assert set(states().values()) == {State.SKIPPED}

    changed = states(("steps=1",))
    assert {name for name, state in changed.items() if state == State.DONE} == {"ppo", "compare"}
    assert len(list(Path("out/stages/.old").glob("ppo-*"))) == 1
    assert hash_tree(Path("out/stages/ppo/model")) != before

    assert set(states().values()) == {State.SKIPPED}, "the first settings' results are taken back, not computed again"
    assert hash_tree(Path("out/stages/ppo/model")) == before


def test_a_stage_that_fails_names_itself_and_its_log_and_goes_on_when_mended(folder: Path) -> None:
    good = Path("rankings.jsonl").read_text()
    Path("rankings.jsonl").write_text(good + '{"prompt": "p", "completions": ["only one"], "ranks": [0]}\n')
    with pytest.raises(DataError, match=r"stage 'rm': .*rankings\.jsonl:9.*\(log: .*rm.*\)"):
        states()
    row = {item["name"]: item["state"] for item in read_json(Path("out/pipeline.json"))["stages"]}
    assert row["rm"] == "failed"
    assert row["ppo"] == "waiting"
    Path("rankings.jsonl").write_text(good)
    after = states()
    assert after["sft"] == State.SKIPPED
    assert after["compare"] == State.DONE


def start(out: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "instructloop.cli.main", "run", "tiny.toml", "--out", out, "--jobs", "1"]

    def hear_interrupts() -> None:
        # a shell that starts the tests in the background has them ignore SIGINT, and children inherit that
        signal.signal(signal.SIGINT, signal.default_int_handler)

    with Path(f"{out}.stderr").open("wb") as stderr:
        return subprocess.Popen(
            command,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            preexec_fn=hear_interrupts,  # noqa: PLW1509 - this process has no other thread
        )


def wait_for(path: Path, lines: int) -> None:
    deadline = time.monotonic() + 120
    while not (path.exists() and path.read_text().count("\n") >= lines):
        assert time.monotonic() < deadline, f"{path} did not get {lines} lines"
        time.sleep(0.01)


def test_a_pipeline_killed_with_all_its_processes_resumes_to_the_same_weights(folder: Path) -> None:
    states()
    process = start("killed")
    wait_for(Path("killed/stages/sft/checkpoints/index.jsonl"), 2)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert read_json(Path("killed/pipeline.json"))["stages"][0]["state"] == "running"
    stages = {item.stage.name: item for item in run_pipeline(load_recipe("tiny.toml"), Path("killed"))}
    assert stages["sft"].resumed
    for name in ("sft", "rm", "ppo"):
        assert Path(f"killed/stages/{name}/metrics.jsonl").read_text() == Path(f"out/stages/{name}/metrics.jsonl").read_text()
        assert hash_tree(Path(f"killed/stages/{name}/model"), ignore=["README.md"]) == hash_tree(
            Path(f"out/stages/{name}/model"), ignore=["README.md"]
        )


def test_a_stage_does_not_outlive_its_killed_pipeline(folder: Path) -> None:
    process = start("orphan")
    status = Path("orphan/stages/sft/status.json")
    wait_for(status, 1)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 20
    while True:  # the stage's directory is locked for as long as its process lives
        try:
            os.close(take_lock(status.parent, "run"))
            break
        except CheckpointError:
            assert time.monotonic() < deadline, "the stage is still alive"
            time.sleep(0.05)


def test_ctrl_c_stops_cleanly_and_the_next_call_resumes(folder: Path) -> None:
    process = start("stopped")
    wait_for(Path("stopped/stages/sft/checkpoints/index.jsonl"), 1)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=60) == 130
    stderr = Path("stopped.stderr").read_text()
    assert "interrupted" in stderr
    assert "Traceback" not in stderr
    row = read_json(Path("stopped/pipeline.json"))["stages"][0]
    assert (row["name"], row["state"]) == ("sft", "stopped")
    assert {item.state for item in run_pipeline(load_recipe("tiny.toml"), Path("stopped"))} == {State.DONE}
