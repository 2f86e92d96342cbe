"""The state of the machine while a job runs, as SageMaker's profiler writes it: ``system/incremental/<hour>/...``.

A file is one minute, a line is one value; smdebug's `LocalSystemMetricsReader` reads it. Where the profiler of the
account is on, SageMaker samples by itself besides.
"""

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pynvml

Value = tuple[str, str, str, float]
"""Type, name, dimension, value."""


class Sampler:
    """Samples in a thread of its own while a ``with`` block runs."""

    def __init__(self, folder: Path, interval: float, node: str = "algo-1") -> None:
        self._folder, self._interval, self._node = folder, interval, node
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="system-sampler", daemon=True)

    def __enter__(self) -> "Sampler":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(timeout=10)

    def _run(self) -> None:
        try:
            machine = Machine()
            while not self._ended.wait(self._interval):
                self._write(time.time(), machine.values())
        except (OSError, psutil.Error) as error:
            # The training is worth more than its profile.
            print(f"The machine is no longer sampled: {error}", file=sys.stderr, flush=True)

    def _write(self, now: float, values: list[Value]) -> None:
        minute = int(now) // 60 * 60
        hour = time.strftime("%Y%m%d%H", time.gmtime(minute))
        file = self._folder / "system" / "incremental" / hour / f"{minute}.{self._node}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        lines = [
            json.dumps(
                {
                    "Type": kind,
                    "Name": name,
                    "Dimension": dimension,
                    "Value": round(value, 3),
                    "NodeId": self._node,
                    "Timestamp": round(now, 3),
                }
            )
            for kind, name, dimension, value in values
        ]
        with file.open("a") as open_file:
            open_file.write("\n".join(lines) + "\n")


class Machine:
    """Reads processors, memory, disk and network by psutil, and GPUs by NVML where there are any."""

    def __init__(self) -> None:
        self._gpus = _gpus()
        self._unread: set[str] = set()
        self._times = psutil.cpu_times()
        psutil.cpu_percent(percpu=True)
        self._moved, self._at = self._counters(), time.monotonic()

    def values(self) -> list[Value]:
        """Everything, now: percentages, and bytes a second since the last call."""
        found: list[Value] = [
            ("cpu", f"cpu{core}", "CPUUtilization", share) for core, share in enumerate(psutil.cpu_percent(percpu=True))
        ]
        found.append(("i/o", "i/o", "I/OWaitPercentage", self._waiting()))
        memory = psutil.virtual_memory()
        found.append(("memory", "MemoryUsedPercent", "MemoryUsedPercent", memory.percent))
        moved, now = self._counters(), time.monotonic()
        seconds = max(1e-6, now - self._at)
        for (kind, name, dimension), total in moved.items():
            found.append((kind, name, dimension, (total - self._moved[kind, name, dimension]) / seconds))
        self._moved, self._at = moved, now
        return [*found, *self._gpu_values()]

    def _waiting(self) -> float:
        before, self._times = self._times, psutil.cpu_times()
        spent = [new - old for new, old in zip(self._times, before, strict=True)]
        waited = getattr(self._times, "iowait", 0.0) - getattr(before, "iowait", 0.0)
        return float(100 * max(0.0, waited) / max(1e-6, sum(spent)))

    def _counters(self) -> dict[tuple[str, str, str], float]:
        disk, network = psutil.disk_io_counters(), psutil.net_io_counters()
        return {
            ("disk", "disk", "ReadBytesPerSecond"): disk.read_bytes if disk else 0,
            ("disk", "disk", "WriteBytesPerSecond"): disk.write_bytes if disk else 0,
            ("network", "network", "ReceiveBytesPerSecond"): network.bytes_recv,
            ("network", "network", "TransmitBytesPerSecond"): network.bytes_sent,
        }

    def _gpu_values(self) -> Iterator[Value]:
        for number, handle in enumerate(self._gpus):
            for dimension, read in GPU_READINGS.items():
                try:
                    value = read(handle)
                except pynvml.NVMLError as error:  # a part of a GPU (MIG) has no utilisation, but has memory
                    self._tell_once(f"gpu{number} {dimension} cannot be read: {error}")
                else:
                    yield "gpu", f"gpu{number}", dimension, value

    def _tell_once(self, said: str) -> None:
        if said not in self._unread:
            self._unread.add(said)
            print(said, file=sys.stderr, flush=True)


def _memory_used(handle: Any) -> float:
    memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    return 100 * float(memory.used) / float(memory.total)


GPU_READINGS: dict[str, Callable[[Any], float]] = {
    "GPUUtilization": lambda handle: float(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu),
    "GPUMemoryUtilization": _memory_used,
}
"""Percentages, by dimension."""


def _gpus() -> list[Any]:
    try:
        pynvml.nvmlInit()
        return [pynvml.nvmlDeviceGetHandleByIndex(number) for number in range(pynvml.nvmlDeviceGetCount())]
    except pynvml.NVMLError:
        return []
