"""Rules on the profile: where the machine is the bottleneck, or is hardly used.

``patience`` is the number of samples at the start that are not judged, as in AWS's rules.
"""

import statistics
from collections.abc import Iterator, Mapping
from typing import Any

from smdebug.rules import Rule

from tasks.debugger.profile import Profile
from tasks.debugger.rules.base import Finding


class ProfileRule(Rule):  # type: ignore[misc]
    """A rule on the whole profile of a job."""

    advice = ""
    patience, window = 0, 0

    def __init__(self, base_trial: Profile) -> None:
        super().__init__(base_trial, action_str="")
        self.profile = base_trial
        self.findings: list[Finding] = []
        self.judged = 0

    @classmethod
    def check(cls, parameters: Mapping[str, Any]) -> None:
        """Look at parameters before anything is run."""

    @property
    def lacking(self) -> str:
        """Why it judged nothing, where that is so."""
        samples = max((len(values) for values in self.profile.series.values()), default=0)
        told = f"the job left {samples} samples of the machine; the first patience = {self.patience} are not judged"
        return told + (f", and the others do not fill windows of window = {self.window}" if self.window else "")

    def judge(self) -> Iterator[Finding]:
        """What is wrong."""
        raise NotImplementedError

    def invoke_at_step(self, step: int) -> bool:
        """Called once: a profile is judged as a whole."""
        self.findings = list(self.judge())
        return bool(self.findings)

    def run(self) -> None:
        """Judge the profile."""
        self.invoke_at_step(0)


class _Bottleneck(ProfileRule):
    """GPUs wait while something else is busy."""

    kind, dimension = "cpu", "CPUUtilization"

    def __init__(self, base_trial: Profile, threshold: float, gpu_threshold: float, busy: float, patience: int) -> None:
        super().__init__(base_trial)
        self.threshold, self.gpu_threshold, self.busy, self.patience = threshold, gpu_threshold, busy, patience

    def judge(self) -> Iterator[Finding]:
        """Share of the samples at which the GPU was below, and the other above its threshold."""
        gpu = self.profile.mean("gpu", "GPUUtilization")[self.patience :]
        other = self.profile.mean(self.kind, self.dimension)[self.patience :]
        pairs = list(zip(gpu, other, strict=False))
        self.judged = len(pairs)
        stuck = [at for at, (g, o) in enumerate(pairs) if g < self.gpu_threshold and o > self.busy]
        if pairs and 100 * len(stuck) / len(pairs) > self.threshold:
            share = 100 * len(stuck) / len(pairs)
            yield Finding(
                self.patience + stuck[0],
                self.dimension,
                {"percent_of_time": share, "threshold": self.threshold},
                "system",
            )


class CPUBottleneck(_Bottleneck):
    """The GPU waits for the processors."""

    advice = "Choose a `training_instance` with more processors for each GPU."

    def __init__(
        self,
        base_trial: Profile,
        threshold: float = 50.0,
        gpu_threshold: float = 10.0,
        cpu_threshold: float = 90.0,
        patience: int = 1000,
    ) -> None:
        super().__init__(base_trial, threshold, gpu_threshold, cpu_threshold, patience)


class IOBottleneck(_Bottleneck):
    """The GPU waits for the disk."""

    advice = "Choose a `training_instance` with a local disk."
    kind, dimension = "i/o", "I/OWaitPercentage"

    def __init__(
        self,
        base_trial: Profile,
        threshold: float = 50.0,
        gpu_threshold: float = 10.0,
        io_threshold: float = 50.0,
        patience: int = 1000,
    ) -> None:
        super().__init__(base_trial, threshold, gpu_threshold, io_threshold, patience)


class LowGPUUtilization(ProfileRule):
    """A GPU is hardly used, or by fits and starts."""

    advice = (
        "Raise `batch_sizes`, or choose a smaller `training_instance`; one process uses one GPU (`training_processes`)."
    )

    def __init__(
        self,
        base_trial: Profile,
        threshold_p95: float = 70.0,
        threshold_p5: float = 10.0,
        window: int = 500,
        patience: int = 1000,
    ) -> None:
        super().__init__(base_trial)
        self.p95, self.p5, self.window, self.patience = threshold_p95, threshold_p5, window, patience

    def judge(self) -> Iterator[Finding]:
        """Percentiles of each GPU's utilisation in windows."""
        for name, start, values in windows(self.profile, "GPUUtilization", self.window, self.patience):
            self.judged += 1
            high, low = percentile(values, 95), percentile(values, 5)
            if high < self.p95 or (low < self.p5 and high - low > self.p95):
                yield Finding(start, name, {"p95": high, "p5": low, "threshold_p95": self.p95}, "system")


class GPUMemoryIncrease(ProfileRule):
    """A GPU's memory fills up as training goes on."""

    advice = (
        "Code that keeps losses or outputs without detaching them? Where nothing was changed, lower `batch_sizes`, or "
        "choose a `training_instance` with more GPU memory."
    )

    def __init__(self, base_trial: Profile, increase: float = 5.0, patience: int = 1000, window: int = 10) -> None:
        super().__init__(base_trial)
        self.increase, self.patience, self.window = increase, patience, window

    def judge(self) -> Iterator[Finding]:
        """Compare means of windows with that of the first."""
        first: dict[str, float] = {}
        for name, start, values in windows(self.profile, "GPUMemoryUtilization", self.window, self.patience):
            mean = statistics.fmean(values)
            self.judged += name in first  # the first window is what the others are compared with
            base = first.setdefault(name, mean)
            if mean - base > self.increase:
                yield Finding(start, name, {"percent": mean, "at_start": base, "increase": self.increase}, "system")


class StepOutlier(ProfileRule):
    """Many steps take far longer than the others."""

    advice = (
        "Compare these steps with the machine's timeline. If the disk or another program held them up, choose another "
        "`training_instance`; if not, set `trace_steps` to see what they do."
    )

    def __init__(self, base_trial: Profile, stddev: float = 3.0, mode: str = "", n_outliers: int = 10) -> None:
        super().__init__(base_trial)
        self.stddev, self.modes, self.n_outliers = stddev, [mode.lower()] if mode else ["train", "eval"], n_outliers

    @property
    def lacking(self) -> str:
        """Steps."""
        return f"the job left fewer than 3 steps of {' or '.join(self.modes)} in its profile"

    def judge(self) -> Iterator[Finding]:
        """Steps beyond ``stddev`` standard deviations, when there are more than ``n_outliers``."""
        for mode in self.modes:
            steps = self.profile.step_seconds(mode)
            if len(steps) < 3:
                continue
            self.judged += len(steps)
            seconds = [value for _, value in steps]
            mean, limit = statistics.fmean(seconds), self.stddev * statistics.stdev(seconds)
            far = [(step, value) for step, value in steps if value - mean > limit]
            if len(far) > self.n_outliers:
                for step, value in far:
                    yield Finding(step, "step time", {"seconds": value, "mean": mean, "limit": mean + limit}, mode)


class BatchSize(ProfileRule):
    """Processors, GPUs and GPU memory are all far from full: larger batches would fit."""

    advice = "Raise `batch_sizes` (and `learning_rates` with them), or choose a smaller `training_instance`."

    def __init__(
        self,
        base_trial: Profile,
        cpu_threshold_p95: float = 70.0,
        gpu_threshold_p95: float = 70.0,
        gpu_memory_threshold_p95: float = 70.0,
        patience: int = 1000,
        window: int = 500,
    ) -> None:
        super().__init__(base_trial)
        self.cpu, self.gpu, self.memory = cpu_threshold_p95, gpu_threshold_p95, gpu_memory_threshold_p95
        self.patience, self.window = patience, window

    def judge(self) -> Iterator[Finding]:
        """The 95th percentiles of all three, in windows."""
        wanted = (
            (self.cpu, self.profile.mean("cpu", "CPUUtilization")),
            (self.gpu, self.profile.mean("gpu", "GPUUtilization")),
            (self.memory, self.profile.mean("gpu", "GPUMemoryUtilization")),
        )
        for start in range(self.patience, len(wanted[1][1]) - self.window + 1, self.window):
            self.judged += 1
            high = [percentile(values[start : start + self.window], 95) for _, values in wanted]
            if all(value < limit for value, (limit, _) in zip(high, wanted, strict=True)):
                numbers = dict(zip(("cpu_p95", "gpu_p95", "gpu_memory_p95"), high, strict=True))
                yield Finding(start, "CPU, GPU and GPU memory", numbers, "system")


class LoadBalancing(ProfileRule):
    """GPUs carry different loads."""

    advice = "Give each GPU a process of its own (`training_processes`)."

    def __init__(self, base_trial: Profile, threshold: float = 0.5, patience: int = 1000) -> None:
        super().__init__(base_trial)
        self.threshold, self.patience = threshold, patience

    @property
    def lacking(self) -> str:
        """GPUs to share with, or samples."""
        return "the job had one GPU" if len(self.profile.of("gpu", "GPUUtilization")) == 1 else super().lacking

    def judge(self) -> Iterator[Finding]:
        """Compare each GPU's mean utilisation with that of all."""
        found = self.profile.of("gpu", "GPUUtilization")
        means = {
            name: statistics.fmean([v for _, v in values[self.patience :]])
            for name, values in found.items()
            if len(values) > self.patience
        }
        overall = statistics.fmean(means.values()) if means else 0.0
        self.judged = len(means) if len(means) > 1 else 0
        for name, mean in means.items():
            if abs(mean - overall) > self.threshold * max(overall, 1e-9):
                yield Finding(self.patience, name, {"utilisation": mean, "mean_of_all": overall}, "system")


def windows(profile: Profile, dimension: str, size: int, patience: int) -> Iterator[tuple[str, int, list[float]]]:
    """Consecutive whole windows of each GPU's values: its name, the first sample, and the values."""
    for name, values in profile.of("gpu", dimension).items():
        for start in range(patience, len(values) - size + 1, size):
            yield name, start, [value for _, value in values[start : start + size]]


def percentile(values: list[float], share: float) -> float:
    """The percentile of a list, by the nearest rank; 0 of nothing."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share / 100))] if ordered else 0.0
