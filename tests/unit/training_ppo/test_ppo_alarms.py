"""PPO-25: the kill-list rings on recorded bad runs and is silent on a good one."""

import pytest

from instructloop.training.ppo_alarms import SIGNS, Limits, check, review

LIMITS = Limits()


def good_run(length: int = 30) -> list[dict[str, float]]:
    """A healthy run: KL creeps up to 2 nats, entropy falls a little, rewards vary, the value network learns."""
    return [
        {
            "kl": 0.05 * step,
            "kl_se": 0.02,
            "entropy": 1.4 - 0.01 * step,
            "eos_rate": 0.9,
            "length": 12.0 + 0.02 * step,
            "first_ratio_deviation": 2e-5,
            "distinct_2": 0.40 - 0.001 * step,
            "explained_variance": min(0.5, -0.2 + 0.1 * step),
            "reward": 0.02 * step,
            "reward_std": 0.9,
        }
        for step in range(length)
    ]


def changed(**series: list[float]) -> list[dict[str, float]]:
    rows = good_run(max(len(values) for values in series.values()))
    for name, values in series.items():
        for row, value in zip(rows, values, strict=True):
            row[name] = value
    return rows


def test_a_good_run_is_silent() -> None:
    assert review(good_run(), LIMITS) == []


BAD_RUNS = {
    "KL": changed(kl=[0.1 * step for step in range(40)]),
    "ENTROPY": changed(entropy=[0.86 * 0.75**step for step in range(12)]),
    "KILL-1": changed(kl=[0.1, -0.2, -0.3]),
    "KILL-2": changed(eos_rate=[0.0] * 12),
    "KILL-3": changed(eos_rate=[0.95 - 0.05 * step for step in range(14)]),
    "KILL-5": changed(first_ratio_deviation=[2e-5, 3e-5, 0.02]),
    "KILL-6": changed(distinct_2=[0.4 - 0.03 * step for step in range(12)]),
    "KILL-7": changed(explained_variance=[-0.1] * 12),
    "KILL-8": changed(reward_std=[0.9, 0.5, 0.0]),
}


@pytest.mark.parametrize("item", BAD_RUNS)
def test_a_bad_run_rings_its_own_alarm(item: str) -> None:
    assert item in {alarm.kind for _, alarm in review(BAD_RUNS[item], LIMITS)}


def test_every_sign_has_a_bad_run() -> None:
    assert set(BAD_RUNS) == set(SIGNS)


def test_an_alarm_is_told_once_when_it_begins() -> None:
    begun = [(index, alarm.kind) for index, alarm in review(BAD_RUNS["KL"], LIMITS)]
    assert begun == [(31, "KL")]  # 3.1 nats is the first value above 3


def test_a_small_negative_kl_is_sampling_error() -> None:
    rows = changed(kl=[0.0, -0.05])
    rows[-1]["kl_se"] = 0.02
    assert check(rows, LIMITS) == []
    rows[-1]["kl_se"] = 0.01
    assert [alarm.kind for alarm in check(rows, LIMITS)] == ["KILL-1"]


def test_messages_hold_the_numbers() -> None:
    message = check(BAD_RUNS["KILL-8"], LIMITS)[0].message
    assert message == "all rewards of the batch equal 0.04: nothing can be learned from it"


def test_no_rows_no_alarm() -> None:
    assert check([], LIMITS) == []
