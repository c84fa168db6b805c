"""The training function inside Ray Train: the same configuration, group and run directory, on the machines of a Ray cluster.

Ray finds the machines, starts the processes and lays out the group; nothing of the algorithm knows of it. A cluster that ``ray``
already knows (RAY_ADDRESS) is used, else one is started here and ended afterwards. Every process must see the run directory and
the inputs under the same paths.
"""

import logging
import os
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from instructloop.core.errors import InstructLoopError, MissingExtraError, RankLost
from instructloop.recipes.launch import Launch, RankCrashed, Work

logger = logging.getLogger(__name__)
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",  # no telemetry
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
_HEALTH = {"RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "2", "RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S": "40"}
"""A worker that has died or does not answer is noticed within a minute."""


def run_with_ray(work: Work, how: Launch) -> None:
    """Run a training stage in Ray's processes; needs the extra ``ray``.

    Raises:
        MissingExtraError: Ray Train is not installed.
        InstructLoopError: what the stage raised.
        RankLost: a process died, or the cluster cannot start so many.
        RankCrashed: a bug, with the traceback of the process.
    """
    for name, value in (_QUIET | _HEALTH).items():
        os.environ.setdefault(name, value)
    try:
        import ray
        from ray.train import FailureConfig, LoggingConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchTrainer
    except ImportError as error:
        raise MissingExtraError.for_extra("ray", "ray") from error
    ours = not ray.is_initialized()
    if ours:
        ray.init(include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
    logging.getLogger("ray").setLevel(logging.ERROR)
    try:
        resources = dict(how.resources_per_process)
        gpus = work.config.compute.device != "cpu" and ray.cluster_resources().get("GPU", 0) > 0
        scaling = ScalingConfig(
            num_workers=how.processes,
            use_gpu=bool(resources.get("GPU")) if resources else gpus,
            resources_per_worker=resources or None,
        )
        with tempfile.TemporaryDirectory(prefix="instructloop-ray-") as records:
            quiet = LoggingConfig(log_level="CRITICAL")
            once = RunConfig(name="run", storage_path=records, failure_config=FailureConfig(max_failures=0), logging_config=quiet)
            trainer = TorchTrainer(_on_worker, train_loop_config={"work": work}, scaling_config=scaling, run_config=once)
            with _followed(work.out / "log.txt"):
                try:
                    trainer.fit()
                except Exception as error:
                    raise _translated(error, work) from error
    finally:
        if ours:
            ray.shutdown()


def _on_worker(config: Mapping[str, Any]) -> None:
    """What Ray calls in every process, inside the process group it has made."""
    import torch
    from ray.train.torch import get_device

    from instructloop.recipes.launch_rank import keep_log, run_rank

    device = get_device()
    if device.type == "cuda":
        torch.cuda.set_device(device)
    work: Work = config["work"]
    os.chdir(work.directory)
    keep_log(work, int(os.environ["RANK"]))
    run_rank(work)


@contextmanager
def _followed(file: Path) -> Iterator[None]:
    """Show the lines that are added to the log of the run while Ray works; Ray's own output is for its own pages."""
    begin = file.stat().st_size if file.exists() else 0
    over = threading.Event()

    def follow() -> None:
        place = begin
        while True:
            last = over.is_set()
            if file.exists():
                with file.open(encoding="utf-8", errors="replace") as log:
                    log.seek(place)
                    sys.stderr.write(log.read())
                    place = log.tell()
                sys.stderr.flush()
            if last:
                return
            over.wait(0.5)

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(timeout=5)


def _translated(error: BaseException, work: Work) -> BaseException:
    """Ray's error as ours: what the stage raised, or which process was lost."""
    failures: Mapping[int, BaseException] = getattr(error, "worker_failures", {})
    causes = {rank: _cause(failure) for rank, failure in sorted(failures.items())}
    told = [cause for cause in causes.values() if isinstance(cause, InstructLoopError) and not isinstance(cause, RankLost)]
    if told:
        return told[0]
    dead = {
        rank: cause
        for rank, cause in causes.items()
        if type(cause).__name__ in {"ActorDiedError", "RayActorError", "WorkerHealthCheckFailedError"}
    }
    if dead:
        names = ", ".join(map(str, dead))
        logs = ", ".join(str(work.out / ("log.txt" if rank == 0 else f"rank-{rank}.log")) for rank in dead)
        return RankLost(f"rank {names} died or does not answer: {_first_line(next(iter(dead.values())))} (log: {logs})", hint=work.again)
    lost = [cause for cause in causes.values() if isinstance(cause, RankLost)]
    if lost:
        return RankLost(lost[0].message, hint=work.again)
    return RankCrashed(f"Ray Train: {error}")


def _cause(error: BaseException) -> BaseException:
    """The exception of the process inside Ray's wrapping."""
    inner = getattr(error, "cause", None) or error.__cause__
    return error if inner is None else _cause(inner)


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
