"""What this machine can do: cores, memory, accelerators, installed extras."""

import os
import platform
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import instructloop
from instructloop.core.machine_memory import physical_bytes
from instructloop.runs import package_version

EXTRAS: Mapping[str, tuple[str, ...]] = {
    "train": ("torch", "transformers", "tokenizers", "safetensors", "peft", "jaxtyping"),
    "files": ("pyarrow",),
    "report": ("matplotlib", "jinja2"),
    "lab": ("vaderSentiment",),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """Facts about the machine."""

    cores: int
    memory_bytes: int
    disk_free_bytes: int
    torch: str | None
    devices: tuple[tuple[str, int], ...]
    """Accelerators with their memory in bytes."""
    missing: Mapping[str, tuple[str, ...]]
    """Extra to the packages of it that are not installed."""

    @property
    def largest_memory_bytes(self) -> int:
        """Memory of the device that a stage would run on."""
        return max((memory for _, memory in self.devices), default=self.memory_bytes)

    def lines(self) -> list[tuple[str, str]]:
        """Readable rows."""
        rows = [
            ("instructloop", f"{instructloop.__version__} on Python {platform.python_version()}, {platform.system()} {platform.machine()}"),
            ("cores", f"{self.cores} usable"),
            ("memory", f"{self.memory_bytes / 2**30:.1f} GiB"),
            ("disk", f"{self.disk_free_bytes / 2**30:.1f} GiB free here"),
            ("torch", self.torch or "not installed: pip install 'instructloop[train]'"),
        ]
        rows += [("accelerator", f"{name}, {memory / 2**30:.0f} GiB") for name, memory in self.devices] or [
            ("accelerator", "none: computing on the CPU")
        ]
        rows += [
            (f"extra {name}", "installed" if not missing else f"missing {', '.join(missing)}: pip install 'instructloop[{name}]'")
            for name, missing in self.missing.items()
        ]
        return [*rows, ("advice", self.advice())]

    def advice(self) -> str:
        """What to run here."""
        if self.torch is None:
            return "install the train extra first"
        if self.devices:
            return "laptop runs in minutes here: instructloop doctor laptop shows the memory it needs"
        if self.cores < 2:
            return "instructloop run miniature --jobs 1"
        return f"instructloop run miniature --jobs {min(self.cores, 4)} (one thread a stage is faster than several on few cores)"


def inspect_machine() -> Machine:
    """Look; torch is imported only to ask it for accelerators."""
    return Machine(
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory_bytes=physical_bytes(),
        disk_free_bytes=shutil.disk_usage(Path.cwd()).free,
        torch=package_version("torch"),
        devices=_devices() if package_version("torch") else (),
        missing={name: tuple(p for p in packages if package_version(p) is None) for name, packages in EXTRAS.items()},
    )


def _devices() -> tuple[tuple[str, int], ...]:
    import torch

    if not torch.cuda.is_available():
        return ()
    found = [torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())]
    return tuple((str(device.name), int(device.total_memory)) for device in found)
