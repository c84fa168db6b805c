"""InstructLoop against its peer in one interleaved run: generation, SFT, reward models, PPO.

    python benchmarks/compare.py --sizes tiny base --peer-python peer/bin/python --peer-ppo-path trl112

Both sides run in worker processes of their own and take turns, round by round; each trains the same weights on the same rows in the
same order. Losses and token counts must agree to 1e-4, or the run fails. The table goes to ``benchmarks/results``.
"""

import argparse
import datetime
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, median
from typing import Any

from spent import grouped
from spent import render as render_spent
from table import Result, render, spread
from transformers import AutoTokenizer, PreTrainedTokenizerBase
from transformers.utils.logging import disable_progress_bar
from useful_flops import per_episode, per_ranking, per_sampled_token, per_sft_token
from workloads import (
    BATCH,
    EPISODES,
    NEW_TOKENS,
    PROMPT_TOKENS,
    RAGGED_ROWS,
    RESPONSE_TOKENS,
    ROWS_TOGETHER,
    SHAPES,
    demonstrations,
    episode_prompts,
    pretraining_texts,
    ragged_lengths,
    rankings,
    recorded_rollouts,
    save_models,
    write_json,
)
from works import WORKS, Work

HERE = Path(__file__).resolve().parent
WARM_UP = {"sft": 2, "rm": 2, "ppo": 1, "generate": 1}
"""Steps before the clock starts, by task; their losses are compared."""
SAMPLE = 500
"""Rows from which the FLOPs of an average unit are reckoned."""


class Worker:
    """A worker process and the line to it; standard error goes to a file that is shown when it dies."""

    def __init__(self, python: str, script: str, log: Path, environment: Mapping[str, str]) -> None:
        self.log = log
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                [python, str(HERE / script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env=dict(environment), text=True
            )
        self.about = self._read()

    def ask(self, **command: Any) -> dict[str, Any]:
        """Send a command, wait for the answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        return self._read()

    def close(self) -> None:
        """Let the worker end."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        answer = dict(json.loads(line)) if line else {"error": "the worker ended without a word"}
        if "error" in answer:
            tail = "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-25:])
            raise SystemExit(f"{self.log.name}: {answer['error']}\n{tail}")
        return answer


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What a comparison needs besides the work itself."""

    place: Path
    ours: Worker
    peer: Worker | None
    peer_ppo: Worker | None
    rounds: int
    clock: str
    profile: bool

    def peer_of(self, work: Work) -> Worker | None:
        """Who does this work on the other side; nobody does PPO-ptx."""
        return None if work.ptx else self.peer_ppo if work.task == "ppo" else self.peer


def run_work(bench: Bench, work: Work, size: str) -> Result:
    """Warm both sides up, compare what they found, then let them take turns."""
    peer, (ours_each, peer_each) = bench.peer_of(work), work.steps[size]
    steps = WARM_UP[work.task] + (bench.rounds + bench.profile) * max(ours_each, peer_each)
    command = _prepare(bench.place / size, work, size, steps)
    told = bench.ours.ask(**command, warm_up=WARM_UP[work.task], steps_each=ours_each, run=str(bench.place / f"run-{work.name}-{size}"))
    checks: dict[str, tuple[float, float]] = {}
    if peer is not None:
        out = str(bench.place / f"peer-{work.name}-{size}")
        if work.task in {"sft", "rm"}:
            command["rows"] = str(_for_peer(Path(command["rows"])))
        answer = peer.ask(**command, warm_up=WARM_UP[work.task], steps_each=peer_each, run=out, probe=told["probe"])
        checks = {name: (told["checks"][name], value) for name, value in answer["checks"].items()}
    rates: dict[str, list[float]] = {"ours": [], "peer": []}
    for number in range(bench.rounds):
        # the side that begins alternates, so that a drift of the machine falls on both alike
        sides = [("ours", bench.ours), ("peer", peer)]
        for side, worker in sides if number % 2 == 0 else reversed(sides):
            if worker is None:
                continue
            answer = worker.ask(do="round")
            rates[side].append(answer["amounts"][work.amount] / answer[bench.clock])
    shares: dict[str, float] = {}
    if bench.profile:
        answer = bench.ours.ask(do="profile")
        # the profiler's clock runs while neighbours have the core: scaled by what this process had of it
        own = {name: seconds * answer["cpu_s"] / answer["wall_s"] for name, seconds in answer["operations"].items()}
        shares = grouped(own if bench.clock == "cpu_s" else answer["operations"], answer["amounts"][work.amount] / median(rates["ours"]))
    for worker in (bench.ours, peer):
        if worker is not None:
            worker.ask(do="stop")
    return Result(
        work=work.name,
        size=size,
        label=work.label,
        unit=work.unit,
        ours=rates["ours"],
        peer=rates["peer"],
        flops=_flops(work, size, bench.place / size),
        checks=checks,
        spent=shares,
    )


def _prepare(place: Path, work: Work, size: str, steps: int) -> dict[str, Any]:
    """Write the rows of a work; returns the command that both sides get."""
    rows = place / f"{work.name}.json"
    command: dict[str, Any] = {"do": "start", "work": work.task, "place": str(place), "rows": str(rows), "steps": steps}
    if work.task == "sft":
        _write_both(rows, demonstrations(BATCH * steps), BATCH)
    elif work.task == "rm":
        _write_both(rows, rankings(work.rankings_per_step * steps, work.k), work.rankings_per_step)
        command |= {"k": work.k, "per_step": work.rankings_per_step}
    elif work.task == "ppo":
        prompts = episode_prompts(EPISODES)
        write_json(rows, prompts)
        write_json(place / "texts.json", pretraining_texts(4 * EPISODES))
        write_json(place / "recorded.json", recorded_rollouts(prompts, _tokenizer(place), SHAPES[size].vocab))
        command |= {"ptx": work.ptx, "texts": str(place / "texts.json")}
        command["recorded"] = None if work.ptx else str(place / "recorded.json")
    else:
        command |= {"ragged": work.ragged, "count": RAGGED_ROWS[size] if work.ragged else ROWS_TOGETHER}
    return command


def _write_both(file: Path, rows: Sequence[Any], batch: int) -> None:
    write_json(file, rows)
    write_json(_for_peer(file), in_step_order(rows, batch))


def _for_peer(file: Path) -> Path:
    return file.with_stem(file.stem + "-in-order")


def in_step_order(rows: Sequence[Any], batch: int) -> list[Any]:
    """The rows as our shuffled epoch visits them; the peer reads them from first to last, and so both see the same batches."""
    from instructloop.data import batch_at

    order = [row for step in range(len(rows) // batch) for row in batch_at(step, len(rows), batch, 0, epochs=1)]
    return [rows[row] for row in order]


def _flops(work: Work, size: str, place: Path) -> float:
    """Useful FLOPs of a unit, the mean over some."""
    shape, tokenizer = SHAPES[size], _tokenizer(place)

    def length(text: str) -> int:
        return len(tokenizer.encode(text, add_special_tokens=False))

    if work.task == "generate":
        lengths = ragged_lengths(RAGGED_ROWS[size]) if work.ragged else [NEW_TOKENS]
        return per_sampled_token(shape, PROMPT_TOKENS, lengths)
    if work.task == "sft":
        return per_sft_token(shape, [(length(row["prompt"]), length(row["completion"]) + 1) for row in demonstrations(SAMPLE)])
    if work.task == "rm":
        rows = rankings(SAMPLE, work.k)
        return fmean(per_ranking(shape, length(row["prompt"]), [length(text) + 1 for text in row["completions"]]) for row in rows)
    return per_episode(shape, [length(prompt) for prompt in episode_prompts(EPISODES)], RESPONSE_TOKENS, ptx=work.ptx)


def _tokenizer(place: Path) -> PreTrainedTokenizerBase:
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(place / "lm")
    return tokenizer


def compare(given: argparse.Namespace, place: Path) -> tuple[list[Result], dict[str, float], dict[str, str]]:
    """All works at all sizes: results, peaks, and what the header says."""
    environment = _environment(given.threads)
    ours = Worker(sys.executable, "our_worker.py", place / "ours.log", environment)
    peer = Worker(given.peer_python, "peer_worker.py", place / "peer.log", environment) if given.peer_python else None
    peer_ppo = None
    if given.peer_python and given.peer_ppo_path:
        path = {"PYTHONPATH": str(Path(given.peer_ppo_path).resolve())}
        peer_ppo = Worker(given.peer_python, "peer_worker.py", place / "peer-ppo.log", environment | path)
    clock = "cpu_s" if given.threads == 1 else "wall_s"
    bench = Bench(place=place, ours=ours, peer=peer, peer_ppo=peer_ppo, rounds=given.rounds, clock=clock, profile=given.profile)
    try:
        peaks = ours.ask(do="start", work="peaks", warm_up=1, steps_each=1)["checks"]
        ours.ask(do="stop")
        results = []
        for size in given.sizes:
            save_models(SHAPES[size], place / size)
            for name in given.works:
                if size in WORKS[name].steps and (size != "tiny-gpt2" or WORKS[name].task == "generate"):
                    results.append(run_work(bench, WORKS[name], size))
                    _say(results[-1])
    finally:
        for worker in (ours, peer, peer_ppo):
            if worker is not None:
                worker.close()
    return _with_cost_of_mix(results), peaks, _header(given, ours, peer, peer_ppo)


def _with_cost_of_mix(results: Sequence[Result]) -> list[Result]:
    """PPO-ptx has no peer: what it costs is told beside our own PPO."""
    plain = {result.size: median(result.ours) for result in results if result.work == "ppo"}
    return [
        replace(result, note=f"{plain[result.size] / median(result.ours):.2f} times the time of our PPO without the mix")
        if result.work == "ptx" and result.size in plain
        else result
        for result in results
    ]


def _environment(threads: int) -> dict[str, str]:
    count = str(threads)
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    return {**os.environ, **offline, "OMP_NUM_THREADS": count, "MKL_NUM_THREADS": count, "BENCH_THREADS": count}


def _header(given: argparse.Namespace, ours: Worker, peer: Worker | None, peer_ppo: Worker | None) -> dict[str, str]:
    arguments = [f"--sizes {' '.join(given.sizes)}", f"--rounds {given.rounds}", f"--threads {given.threads}"]
    if list(given.works) != list(WORKS):
        arguments.append(f"--works {' '.join(given.works)}")
    arguments += ["--profile"] if given.profile else []
    arguments += ["--peer-python PYTHON"] if peer else []
    arguments += ["--peer-ppo-path FOLDER"] if peer_ppo else []
    versions = ", ".join(f"{name} {version}" for name, version in ours.about.items() if name != "hello")
    header = {
        "Command": f"`python benchmarks/compare.py {' '.join(arguments)}`",
        "Machine": f"{_cpu_name()}, {os.cpu_count()} cores, {platform.system()}",
        "Date": _today(),
        "Threads": f"{given.threads} ({'CPU time' if given.threads == 1 else 'wall time'})",
        "Rounds": f"{given.rounds} of each side, taking turns",
        "Ours": versions,
    }
    for name, worker in (("Peer", peer), ("Peer for PPO", peer_ppo)):
        if worker is not None:
            header[name] = ", ".join(f"{key} {worker.about[key]}" for key in ("trl", "transformers", "torch"))
    return header


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor() or "CPU")


def _today() -> str:
    return datetime.datetime.now(tz=datetime.UTC).date().isoformat()


def _say(result: Result) -> None:
    peer = f"  peer {spread(result.peer)}  ratio {spread(result.ratios)}  {result.verdict}" if result.peer else ""
    print(f"{result.label:<20} {result.size:<10} {result.unit}: ours {spread(result.ours)}{peer}", flush=True)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", choices=list(SHAPES), default=["tiny", "tiny-gpt2", "base"])
    parser.add_argument("--works", nargs="+", choices=list(WORKS), default=list(WORKS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1, help="1: CPU seconds; more: wall seconds")
    parser.add_argument("--profile", action="store_true", help="one more round of ours under torch's profiler: where the time goes")
    parser.add_argument("--peer-python", help="Python of an environment with TRL; without it only our side runs")
    parser.add_argument("--peer-ppo-path", help="folder with the last TRL that has PPO, put before that environment's own")
    parser.add_argument("--out", type=Path, default=HERE / "results", help="folder of the result file")
    parser.add_argument("--name", help="first part of the file name; compare-<sizes> if left out")
    given = parser.parse_args(arguments)
    if given.peer_python and not shutil.which(given.peer_python):
        parser.error(f"--peer-python {given.peer_python} is no program; docs/how-to/benchmarks.md tells how to make the environment")
    if given.peer_ppo_path and not (Path(given.peer_ppo_path) / "trl").is_dir():
        parser.error(f"--peer-ppo-path {given.peer_ppo_path} holds no folder trl")
    return given


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print, write; returns 1 if the two sides did not do the same work."""
    given = parse(arguments)
    disable_progress_bar()
    place = Path(tempfile.mkdtemp(prefix="instructloop-bench-"))
    try:
        results, peaks, header = compare(given, place)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    text = render(results, peaks, header, clock="CPU second" if given.threads == 1 else "second")
    text += render_spent({(result.label, result.size): result.spent for result in results if result.spent})
    given.out.mkdir(parents=True, exist_ok=True)
    name = given.name or f"compare-{'-'.join(given.sizes)}"
    file = given.out / f"{name}_cpu-{given.threads}-thread_{_today()}.md"
    file.write_text(text, encoding="utf-8")
    print(text)
    unequal = [problem for result in results for problem in result.unequal()]
    for problem in unequal:
        print(f"NOT THE SAME WORK: {problem}", file=sys.stderr)
    return 1 if unequal else 0


if __name__ == "__main__":
    sys.exit(main())
