"""The lines of the table: what is done, counted in what, and how many steps make a round of a second or more."""

from collections.abc import Mapping
from dataclasses import dataclass

from workloads import BATCH


@dataclass(frozen=True, kw_only=True)
class Work:
    """One line of the table; ``task`` is the workers' name for it, ``steps`` by size: (ours, peer's) in a round."""

    name: str
    label: str
    task: str
    unit: str
    amount: str
    steps: Mapping[str, tuple[int, int]]
    k: int = 0
    rankings_per_step: int = 1
    ptx: bool = False
    ragged: bool = False


def _steps(micro: int, tiny: tuple[int, int], base: tuple[int, int], **more: tuple[int, int]) -> dict[str, tuple[int, int]]:
    middle = (max(1, (tiny[0] + base[0]) // 2), max(1, (tiny[1] + base[1]) // 2))
    return {"micro": (micro, micro), "tiny": tiny, "small": middle, "base": base, **more}


WORKS = {
    work.name: work
    for work in (
        Work(
            name="generate",
            label="sampling, 64 x 64",
            task="generate",
            unit="tokens",
            amount="tokens",
            steps=_steps(1, (4, 2), (1, 1), **{"tiny-gpt2": (4, 2), "smollm2": (1, 1)}),
        ),
        Work(
            name="ragged",
            label="sampling, ragged",
            task="generate",
            unit="useful tokens",
            amount="tokens",
            ragged=True,
            steps=_steps(1, (1, 1), (1, 1), **{"tiny-gpt2": (1, 1), "smollm2": (1, 1)}),
        ),
        Work(name="sft", label="SFT", task="sft", unit="tokens", amount="tokens", steps=_steps(2, (30, 12), (4, 2), smollm2=(2, 1))),
        Work(
            name="rm",
            label="RM, pairs",
            task="rm",
            unit="pairs",
            amount="rankings",
            k=2,
            rankings_per_step=BATCH,
            steps=_steps(2, (32, 14), (3, 2)),
        ),
        Work(name="rm4", label="RM, K = 4", task="rm", unit="rankings", amount="rankings", k=4, steps=_steps(2, (60, 30), (4, 2))),
        Work(name="rm9", label="RM, K = 9", task="rm", unit="rankings", amount="rankings", k=9, steps=_steps(2, (48, 8), (4, 1))),
        Work(name="ppo", label="PPO, 1 epoch", task="ppo", unit="episodes", amount="episodes", steps=_steps(1, (1, 1), (1, 1))),
        Work(name="ptx", label="PPO-ptx", task="ppo", unit="episodes", amount="episodes", ptx=True, steps=_steps(1, (1, 1), (1, 1))),
    )
}
