"""How cost grows: CPU seconds and peak memory of a step against batch, length, K and model size.

    python benchmarks/growth.py            # about three minutes on one idle core
    python benchmarks/growth.py --quick    # a look, half a minute

Each point runs real functions on made-up rows of an exact length. Memory is counted storage by storage in a run of its own, so that
counting does not slow what is timed. A table and a plot go to ``benchmarks/results``.
"""

import argparse
import datetime
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import log
from pathlib import Path
from statistics import median

import torch
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification, PreTrainedConfig

from instructloop.config import ComputeConfig, OptimizerConfig, PPOConfig, RewardModelConfig, SamplingConfig, SFTConfig
from instructloop.core.records import Prompt
from instructloop.data import RankedGroup, TokenSequence
from instructloop.generation.torch_engine import TorchEngine
from instructloop.models.fast_linear import speed_up
from instructloop.models.memory import Row, StageConfig, Workload, estimate_memory, shape_of
from instructloop.models.meter import MemoryMeter
from instructloop.models.scalar import ScalarModel
from instructloop.testing import tiny_codec
from instructloop.testing.stages import Rows, prepare
from instructloop.training.optim import make_optimizer, step_checked
from instructloop.training.rm_loss import accumulate_ranking_gradient
from instructloop.training.sft_loss import accumulate_sft_gradient

COMPUTE = ComputeConfig(device="cpu", dtype="float32", micro_batch_tokens=2048)
VOCABULARY = 4096
PROMPT_SHARE = 1 / 4
"""Of a row; the rest is completion."""
WORKS = ("sft", "rm", "generate", "ppo")
COLORS = {"sft": "#1d4ed8", "rm": "#15803d", "generate": "#c2410c", "ppo": "#7e22ce"}


@dataclass(frozen=True, kw_only=True)
class Point:
    """One size of one work."""

    work: str
    axis: str
    """What is varied."""
    batch: int = 16
    """Rows of a step; rankings of a reward model; rows that are sampled; episodes."""
    length: int = 64
    """Tokens of a row, prompt and completion."""
    k: int = 2
    hidden: int = 128
    layers: int = 4

    @property
    def x(self) -> int:
        """The number on the axis."""
        if self.axis == "weights":
            return sum(value.numel() for value in _on_meta(self.config()).parameters())
        return {"batch": self.batch, "length": self.length, "K": self.k}[self.axis]

    @property
    def prompt(self) -> int:
        """Tokens of the prompt."""
        return max(2, int(self.length * PROMPT_SHARE))

    def config(self) -> PreTrainedConfig:
        """A Llama of this size."""
        return LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=self.hidden,
            intermediate_size=self.hidden * 8 // 3 // 8 * 8,
            num_hidden_layers=self.layers,
            num_attention_heads=self.hidden // 32,
            num_key_value_heads=self.hidden // 32,
            max_position_embeddings=1024,
            tie_word_embeddings=True,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
        )


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a point cost."""

    point: Point
    seconds: float
    """CPU time of a step, median."""
    peak: int
    """Most bytes, weights and moments included."""
    estimate: int | None
    """The same as ``models.memory`` says it before; None for what is no stage."""


def points(*, quick: bool) -> list[Point]:
    """The sweeps: one axis at a time from a common middle."""
    batches, lengths, ks = ((8, 16), (32, 64), (2, 4)) if quick else ((4, 8, 16, 32, 64), (32, 64, 128, 256), (2, 4, 6, 9))
    sizes = ((64, 2), (128, 4)) if quick else ((64, 2), (128, 4), (256, 6), (384, 8))
    found = []
    for work in WORKS:
        middle = Point(work=work, axis="batch")
        found += [replace(middle, batch=batch) for batch in (batches[:4] if work == "ppo" else batches)]
        found += [replace(middle, axis="length", length=length) for length in lengths]
        found += [replace(middle, axis="weights", hidden=hidden, layers=layers) for hidden, layers in sizes]
        if work == "rm":
            found += [replace(middle, axis="K", k=k, batch=8) for k in ks]
    return found


def measure(point: Point, *, repeats: int) -> Measured:
    """Count a run, then time others."""
    with tempfile.TemporaryDirectory(prefix="instructloop-growth-") as folder:
        if point.work == "ppo":
            return _measure_ppo(point, Path(folder), repeats=repeats)
        step, weights, cfg = {"sft": _sft, "rm": _rm, "generate": _generate}[point.work](point)
        with MemoryMeter() as meter:
            step()
            step()  # with the optimizer's moments
        return Measured(point=point, seconds=_time(step, repeats), peak=weights + meter.peak, estimate=_estimate(point, cfg))


def _time(step: Callable[[], object], repeats: int) -> float:
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        step()
        seconds.append(time.process_time() - start)
    return median(seconds)


Prepared = tuple[Callable[[], object], int, StageConfig | None]


def _sft(point: Point) -> Prepared:
    torch.manual_seed(0)
    model = LlamaForCausalLM(point.config())
    speed_up(model)
    rows = [_row(number, point) for number in range(point.batch)]
    optimizer = make_optimizer(model, OptimizerConfig())

    def step() -> None:
        accumulate_sft_gradient(model, rows, 0, COMPUTE.micro_batch_tokens, step=1)
        step_checked(optimizer, model, 1.0)

    return step, _bytes(model), SFTConfig(batch_size=point.batch, compute=COMPUTE)


def _rm(point: Point) -> Prepared:
    torch.manual_seed(0)
    config = point.config()
    config.num_labels = 1
    model = ScalarModel(LlamaForSequenceClassification(config))
    speed_up(model)
    ranks = tuple(range(point.k))
    groups = [RankedGroup(tuple(_row(number, point, k) for k in ranks), ranks, None, None, str(number)) for number in range(point.batch)]
    optimizer = make_optimizer(model, OptimizerConfig())

    def step() -> None:
        accumulate_ranking_gradient(model, groups, 0, COMPUTE.micro_batch_tokens, step=1)
        step_checked(optimizer, model, 1.0)

    return step, _bytes(model), RewardModelConfig(batch_prompts=point.batch, compute=COMPUTE)


def _generate(point: Point) -> Prepared:
    torch.manual_seed(0)
    model = LlamaForCausalLM(point.config()).eval()
    speed_up(model)
    engine = TorchEngine(model, tiny_codec())
    prompts = [Prompt(prompt=_text(number, point.prompt - 1)) for number in range(point.batch)]
    sampling = SamplingConfig(max_new_tokens=point.length - point.prompt)
    return lambda: engine.generate(prompts, n=1, sampling=sampling, seed=1), _bytes(model), None


def _measure_ppo(point: Point, folder: Path, *, repeats: int) -> Measured:
    """An iteration of the trainer itself: what three cost less than what one costs, halved."""
    cfg = PPOConfig(
        steps=1,
        batch_size=point.batch,
        minibatches=2,
        compute=COMPUTE,
        sampling=SamplingConfig(max_new_tokens=point.length - point.prompt),
    )
    rows = Rows(prompt_tokens=point.prompt, count=point.batch)
    stage = prepare(replace(cfg, steps=2), point.config(), rows, folder / "counted")
    with MemoryMeter() as meter:
        stage.run()
    peak = stage.weights + meter.peak
    spent = []
    for repeat in range(repeats):
        cost = {}
        for steps in (1, 3):
            stage = prepare(replace(cfg, steps=steps), point.config(), rows, folder / f"{repeat}-{steps}")
            start = time.process_time()
            stage.run()
            cost[steps] = time.process_time() - start
        spent.append((cost[3] - cost[1]) / 2)
    return Measured(point=point, seconds=median(spent), peak=peak, estimate=_estimate(point, cfg))


def _estimate(point: Point, cfg: StageConfig | None) -> int | None:
    if cfg is None:
        return None
    whole = Row(point.prompt, point.length)
    row = {"sft": (whole,), "rm": (whole,) * point.k, "ppo": (Row(point.prompt, point.prompt),)}[point.work]
    return estimate_memory(cfg, shape_of(point.config()), Workload(groups=(row,) * point.batch)).peak


def _row(number: int, point: Point, k: int = 0) -> TokenSequence:
    """Ids that differ from prompt to prompt and from completion to completion."""
    prompt = [1, *(3 + (number * 31 + place) % (VOCABULARY - 3) for place in range(point.prompt - 1))]
    completion = [3 + (number * 17 + k * 7 + place) % (VOCABULARY - 3) for place in range(point.length - point.prompt)]
    return TokenSequence((*prompt, *completion), point.prompt)


def _text(number: int, tokens: int) -> str:
    return (str(number) + "abcdefghij"[number % 10] * tokens)[:tokens]


def _bytes(model: torch.nn.Module) -> int:
    return sum(value.numel() * value.itemsize for value in model.parameters())


def _on_meta(config: PreTrainedConfig) -> torch.nn.Module:
    with torch.device("meta"):
        return LlamaForCausalLM(config)


def exponent(xs: Sequence[float], ys: Sequence[float]) -> float:
    """Slope of the straight line through log y against log x: 1 is proportional."""
    logs = [(log(x), log(y)) for x, y in zip(xs, ys, strict=True)]
    mean_x, mean_y = (sum(pair[place] for pair in logs) / len(logs) for place in (0, 1))
    return sum((x - mean_x) * (y - mean_y) for x, y in logs) / sum((x - mean_x) ** 2 for x, _ in logs)


def series(results: Sequence[Measured]) -> Iterator[tuple[str, str, list[Measured]]]:
    """(axis, work, points in order) of every line of the plot."""
    for axis in dict.fromkeys(one.point.axis for one in results):
        for work in WORKS:
            line = sorted((one for one in results if (one.point.axis, one.point.work) == (axis, work)), key=lambda one: one.point.x)
            if line:
                yield axis, work, line


def render(results: Sequence[Measured], *, machine: str, command: str) -> str:
    """The table in Markdown."""
    lines = [
        "# How cost grows",
        "",
        f"`{command}` on {machine}.",
        "",
        (
            "CPU seconds of one step on one thread (a PPO iteration; a call of the engine), and the most bytes held at once, counted exactly, "
            f"weights and moments included. Micro-batches of {COMPUTE.micro_batch_tokens} tokens, vocabulary {VOCABULARY}. In the middle of "
            "every sweep: 16 rows of 64 tokens, a quarter of them prompt, K = 2, 4 layers of width 128."
        ),
        "",
        "| axis | work | value | seconds | peak MiB | estimated MiB |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for axis, work, line in series(results):
        for one in line:
            estimate = "" if one.estimate is None else f"{one.estimate / 2**20:.1f}"
            lines.append(f"| {axis} | {work} | {one.point.x:,} | {one.seconds:.3f} | {one.peak / 2**20:.1f} | {estimate} |")
    lines += ["", "Growth as a power of the value (1 is proportional):", "", "| axis | work | time | peak |", "|---|---|---:|---:|"]
    for axis, work, line in series(results):
        xs = [one.point.x for one in line]
        powers = [exponent(xs, [one.seconds for one in line]), exponent(xs, [one.peak for one in line])]
        lines.append(f"| {axis} | {work} | {powers[0]:.2f} | {powers[1]:.2f} |")
    return "\n".join(lines) + "\n"


def draw(results: Sequence[Measured], path: Path) -> None:
    """Time and peak memory against each axis, one line a work; the dotted line is proportional growth."""
    axes_names: Mapping[str, str] = {"batch": "rows of a step", "length": "tokens of a row", "K": "K of a ranking", "weights": "weights"}
    shown = [axis for axis in axes_names if any(one.point.axis == axis for one in results)]
    figure = Figure(figsize=(4 * len(shown), 6.5), layout="constrained")
    FigureCanvasSVG(figure)
    for column, axis in enumerate(shown):
        for row, (label, value) in enumerate(
            (("CPU seconds of a step", lambda one: one.seconds), ("peak MiB", lambda one: one.peak / 2**20))
        ):
            panel = figure.add_subplot(2, len(shown), row * len(shown) + column + 1)
            for found, work, line in series(results):
                if found == axis:
                    xs, ys = [one.point.x for one in line], [value(one) for one in line]
                    panel.plot(xs, ys, marker="o", markersize=3, color=COLORS[work], label=work)
                    panel.plot(xs, [ys[0] * x / xs[0] for x in xs], linestyle=":", linewidth=0.8, color=COLORS[work])
            panel.set_xscale("log", base=2 if axis != "weights" else 10)
            panel.set_yscale("log")
            panel.grid(alpha=0.25)
            if row == 1:
                panel.set_xlabel(axes_names[axis])
            if column == 0:
                panel.set_ylabel(label)
                panel.legend(fontsize=8, frameon=False)
    figure.savefig(path, metadata={"Date": None})


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write the table and the plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few small points, each timed once")
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent / "results", help="where table and plot go")
    parser.add_argument("--repeats", type=int, default=0, help="timed runs of a point (3, quick: 1)")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    results = []
    for point in points(quick=given.quick):
        results.append(measure(point, repeats=given.repeats or (1 if given.quick else 3)))
        one = results[-1]
        print(f"{point.work:9}{point.axis:8}{point.x:>12,}{one.seconds:10.3f} s{one.peak / 2**20:10.1f} MiB", flush=True)
    given.out.mkdir(parents=True, exist_ok=True)
    name = f"growth{'-quick' if given.quick else ''}_cpu-1-thread_{datetime.datetime.now(tz=datetime.UTC).date().isoformat()}"
    machine = f"{_processor()}, {os.cpu_count()} cores, torch {torch.__version__}"
    command = f"python benchmarks/growth.py{' --quick' if given.quick else ''}"
    (given.out / f"{name}.md").write_text(render(results, machine=machine, command=command), encoding="utf-8")
    draw(results, given.out / f"{name}.svg")
    print(given.out / f"{name}.md")
    return 0


def _processor() -> str:
    listing = Path("/proc/cpuinfo")
    for line in listing.read_text(encoding="utf-8").splitlines() if listing.is_file() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    raise SystemExit(main())
