"""The README and the pages stay true: their commands run, on files of their layouts and a tiny model; the README's links lead somewhere."""

import ast
import itertools
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from instructloop.cli.main import main
from instructloop.testing import CHAT_TEMPLATE, save_tiny, tiny_model, tiny_tokenizer

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
WORDS = ("ship", "moon", "tea", "hat", "lamp", "fog")
SMALL = {
    "train sft": ["--max-steps", "2"],
    "sample": ["--limit", "4", "--sampling.max-new-tokens", "6"],
    "train rm": ["--max-steps", "1"],
    "train ppo": ["--steps", "1", "--batch-size", "8", "--sampling.max-new-tokens", "6", "--ptx-tokens", "16"],
    "evaluate": ["--sampling.max-new-tokens", "6", "--bootstrap-samples", "100"],
    "inspect": ["--limit", "4", "--best-of-n", "2"],
    "run": ["--plan"],
    "chat": ["--prompt", "Name a fish.", "--max-new-tokens", "4"],
    "miniature build": ["--sizes", "documents", "60", "heldout_documents", "10", "demonstrations", "20", "train_prompts", "12"],
    "rehearse": ["--labelers", "2", "--utility", "taste.py:taste"],
    "label": ["--help"],  # serves until it is stopped; the browser tests do
    "miniature evaluate": ["--n", "6", "--sampling.max-new-tokens", "4"],
}
"""What is added to a command so that it takes seconds; all that stands before is as the page has it (a later option wins)."""


def commands_of(text: str) -> list[list[str]]:
    """Words of the lines in console blocks that call the program, without its name, in order."""
    blocks = re.findall(r"```console\n(.*?)```", text, flags=re.DOTALL)
    return [
        shlex.split(line)[1:] for block in blocks for line in block.replace("\\\n", " ").splitlines() if line.startswith("instructloop ")
    ]


def run(words: list[str]) -> int:
    """The command, made small; an option that the page itself gives is given once, by us."""
    extra = next((more for name, more in SMALL.items() if words[: len(name.split())] == name.split()), [])
    ours = {word for word in extra if word.startswith("--")}
    kept, place = [], 0
    while place < len(words):
        if words[place] in ours:
            place += 2
            continue
        kept.append(words[place])
        place += 1
    try:
        return main([*kept, *extra])
    except SystemExit as left:  # --help
        return int(left.code or 0)


def files_of(text: str) -> dict[str, str]:
    """Files that a page shows: a row beside its name, or a block whose first line is a comment with its name."""
    found = dict(re.findall(r"^([\w-]+\.jsonl)\s+(\{.*\})$", text, flags=re.MULTILINE))
    return found | dict(re.findall(r"```(?:toml|python)\n# ([\w-]+\.(?:toml|py))\n(.*?)```", text, flags=re.DOTALL))


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the README's files (its own row first, then more of the kind) and tiny random models under the names of the pages."""
    monkeypatch.chdir(tmp_path)
    rows = {name: json.loads(row) for name, row in files_of(README).items()}
    rows |= {"rankings-2.jsonl": rows["rankings.jsonl"], "documents.jsonl": {"text": "The fog came in over the harbor. " * 40}}
    for name, row in rows.items():
        ask = "Draw" if name == "held_out.jsonl" else "Name"  # held-out prompts are none that was trained on
        more = [row] + [{**row, "prompt": f"{ask} a {word} {number}."} for number in range(3) for word in WORDS]
        (tmp_path / name).write_text("".join(json.dumps(item) + "\n" for item in more), encoding="utf-8")
    # a random model's completions share no word with the prompt, so the default utility would see no difference
    (tmp_path / "taste.py").write_text("def taste(prompts, completions):\n    return [float(len(text.encode())) for text in completions]\n")
    for place, chat in (("path/to/base", False), ("models/mine", True)):
        (tmp_path / place).mkdir(parents=True)
        save_tiny(place, tiny_model(context=2048), tiny_tokenizer(chat_template=CHAT_TEMPLATE if chat else None))
    return tmp_path


def test_the_readme_shows_a_row_of_each_file_its_commands_read() -> None:
    named = {name for words in commands_of(README) for name in re.findall(r"[\w-]+\.jsonl", " ".join(words))}
    assert named == set(files_of(README))


@pytest.mark.usefixtures("desk")
def test_the_commands_of_the_readme_run_in_their_order(capsys: pytest.CaptureFixture[str]) -> None:
    printed = {}
    for words in commands_of(README):
        code = run(words)
        shown = capsys.readouterr()
        # the doctor of an untrained policy may find something (3): that is an answer, not a failure
        assert code == 0 or (words[0] == "doctor" and code == 3), f"{words}\n{shown.out}{shown.err}"
        printed[words[0]] = shown.out
    assert {"train", "sample", "evaluate", "report", "chat", "lineage", "verify", "export", "doctor"} <= set(printed)
    assert "demonstrations.jsonl" in printed["lineage"]
    assert " 0 of them changed" in printed["verify"]
    assert "Top-scoring answers, to be read" in printed["inspect"]
    assert Path(printed["report"].strip()).is_file()
    assert {"model.safetensors", "tokenizer.json"} <= {file.name for file in Path("my-model").iterdir()}


@pytest.mark.usefixtures("desk")
def test_the_python_example_of_the_readme_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    small = example.replace("steps=20, batch_size=64", "steps=1, batch_size=8, sampling={'max_new_tokens': 6}")
    assert small != example
    exec(compile(small, "README.md", "exec"), {})
    sampled, wins = capsys.readouterr().out.splitlines()[-2:]
    assert len(ast.literal_eval(sampled)[0]) == 3
    assert {row["a"] for row in ast.literal_eval(wins)} == {"sft", "ppo"}


@pytest.mark.parametrize("page", ["how-to/own-model-and-data.md", "tutorials/first-loop.md", "explanation/miniature.md"])
def test_the_commands_of_a_page_run_in_their_order(page: str, desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8").replace("$BASE", "path/to/base")
    for name, body in files_of(text).items():
        (desk / name).write_text(body + "\n", encoding="utf-8")
    for words in commands_of(text):
        code = run(words)
        shown = capsys.readouterr()
        assert code == 0 or (words[0] == "doctor" and code == 3), f"{words}\n{shown.out}{shown.err}"


def test_the_commands_of_the_algorithm_pages_run_once_their_inputs_are_there(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts = [page.read_text(encoding="utf-8") for page in sorted((ROOT / "docs/algorithms").glob("*.md"))]
    for text in texts:
        for name, body in files_of(text).items():
            (desk / name).write_text(body, encoding="utf-8")
    (desk / "my_reward.py").write_text("def score(prompts, completions):\n    return [float(len(text)) for text in completions]\n")
    waiting = [words for text in texts for words in commands_of(text)]
    while waiting:
        ready = [words for words in waiting if all(Path(path, "model").exists() for path in _runs_read(words))]
        assert ready, f"these wait for runs that no page makes: {waiting}"
        code = run(ready[0])
        shown = capsys.readouterr()
        assert code == 0, f"{ready[0]}\n{shown.out}{shown.err}"
        waiting.remove(ready[0])


def _runs_read(words: list[str]) -> set[str]:
    """Run directories that a command reads (a settings file is taken to read what PPO reads)."""
    read = {word for before, word in itertools.pairwise(words) if word.startswith("runs/") and before != "--out"}
    return read | ({"runs/sft", "runs/rm"} if "--config" in words else set())


def test_help_and_doctor_answer_as_a_command_of_the_shell() -> None:
    command = [sys.executable, "-m", "instructloop.cli.main"]
    shown = subprocess.run([*command, "--help"], capture_output=True, text=True, check=True)
    assert "train ppo" in shown.stdout
    machine = subprocess.run([*command, "doctor"], capture_output=True, text=True, check=True)
    assert "torch" in machine.stdout


def test_every_link_of_the_readme_leads_to_a_file() -> None:
    targets = [target.partition("#")[0] for target in re.findall(r"\]\(([^)]+)\)", README) if "://" not in target]
    assert [target for target in targets if not (ROOT / target).exists()] == []


def test_every_script_and_extra_that_the_readme_names_exists() -> None:
    scripts = set(re.findall(r"\./scripts/(\w+)", README))
    assert {name for name in scripts if not (ROOT / "scripts" / name).is_file()} == set()
    extras = (ROOT / "pyproject.toml").read_text(encoding="utf-8").partition("[project.optional-dependencies]")[2].partition("\n[")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", README, flags=re.MULTILINE)) == set(re.findall(r"^(\w+) = \[", extras, flags=re.MULTILINE))
