"""What to try next: Optuna behind SageMaker's four strategies.

A study is a journal file in the tuning job's folder, so that it survives a crash of the service.
"""

import contextlib
import functools
import logging
import math
import operator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localcloud.store import Document
from localcloud.tuning.ranges import ChoiceRange, Range, parse_ranges

if TYPE_CHECKING:
    import optuna

STARTUP_TRIALS = 3
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Finished:
    """A trial of an earlier tuning job, for a warm start."""

    parameters: dict[str, str]
    value: float


def grid_size(ranges: list[Range]) -> int:
    """How many combinations categorical ranges have."""
    sizes = [len(item.values) for item in ranges if isinstance(item, ChoiceRange)]
    return functools.reduce(operator.mul, sizes, 1)


class Search:
    """The study of one training job definition."""

    def __init__(self, journal: Path, config: Document, definition: Document) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._optuna = optuna
        self.ranges = ranges_of(config, definition)
        objective = objective_of(config, definition)
        self._strategy = str(config["Strategy"])
        backend = optuna.storages.journal.JournalFileBackend(
            str(journal), lock_obj=optuna.storages.journal.JournalFileOpenLock(str(journal))
        )
        self.study = optuna.create_study(
            storage=optuna.storages.JournalStorage(backend),
            study_name="study",
            load_if_exists=True,
            pruner=self._pruner(config),
            direction="minimize" if objective["Type"] == "Minimize" else "maximize",
        )
        self.study.sampler = self._sampler(config)
        self._trials: dict[int, optuna.Trial] = {}

    def warm_start(self, finished: list[Finished]) -> None:
        """Let the search know earlier results; those outside the ranges are left out."""
        if self.study.user_attrs.get("warm"):
            return
        for one in finished:
            with contextlib.suppress(KeyError, ValueError):
                parameters = {item.name: item.internal(one.parameters[item.name]) for item in self.ranges}
                trial = self._optuna.trial.create_trial(
                    params=parameters,
                    distributions={item.name: item.distribution for item in self.ranges},
                    value=one.value,
                    user_attrs={"parent": True},
                )
                self.study.add_trial(trial)
        self.study.set_user_attr("warm", value=True)

    def open_trials(self) -> list[int]:
        """The numbers of the trials that this search has asked for and not been told the end of, in order."""
        running = self._optuna.trial.TrialState.RUNNING
        return [trial.number for trial in self.study.get_trials(deepcopy=False, states=(running,))]

    def ask(self) -> int:
        """Begin another trial; returns its number."""
        trial = self.study.ask()
        self._trials[trial.number] = trial
        return int(trial.number)

    def parameters(self, number: int) -> dict[str, str]:
        """The hyperparameters of a trial; the same at every call."""
        trial = self._trial(number)
        return {item.name: item.suggest(trial) for item in self.ranges}

    def report(self, number: int, values: list[float]) -> bool:
        """Tell the objective's values so far, one a step; returns whether the trial is not worth going on."""
        trial = self._trial(number)
        known = len(trial.storage.get_trial(trial._trial_id).intermediate_values)
        for step, value in enumerate(values[known:], known + 1):
            trial.report(value, step)
        return len(values) > known and trial.should_prune()

    def tell(self, number: int, value: float | None, *, pruned: bool) -> None:
        """Tell how a trial ended; None when it has no objective value."""
        states = self._optuna.trial.TrialState
        if self.study.get_trials(deepcopy=False)[number].state != states.RUNNING:
            return
        if pruned:
            self.study.tell(number, state=states.PRUNED)  # its value is the last that was reported
        elif value is None or not math.isfinite(value):
            self.study.tell(number, state=states.FAIL)
        else:
            self.study.tell(number, value)
        self._trials.pop(number, None)

    def _trial(self, number: int) -> "optuna.Trial":
        if number not in self._trials:
            frozen = self.study.get_trials(deepcopy=False)[number]
            self._trials[number] = self._optuna.Trial(self.study, frozen._trial_id)
        return self._trials[number]

    def _sampler(self, config: Document) -> Any:
        samplers = self._optuna.samplers
        seed = config.get("RandomSeed")
        if self._strategy == "Grid":
            space = {item.name: list(item.values) for item in self.ranges if isinstance(item, ChoiceRange)}
            return _grid_sampler(space, seed)
        if seed is not None:  # a search that goes on after a crash must not begin again with what it has tried
            seed += len(self.study.get_trials(deepcopy=False))
        if self._strategy == "Random":
            return samplers.RandomSampler(seed=seed)
        # Few jobs are usual here, so the model takes over after three of them, not after Optuna's ten.
        return samplers.TPESampler(seed=seed, n_startup_trials=STARTUP_TRIALS, constant_liar=True)

    def _pruner(self, config: Document) -> Any:
        pruners = self._optuna.pruners
        if self._strategy == "Hyperband":
            bounds = config.get("StrategyConfig", {}).get("HyperbandStrategyConfig", {})
            return pruners.HyperbandPruner(
                min_resource=bounds.get("MinResource", 1), max_resource=bounds.get("MaxResource", "auto")
            )
        if config.get("TrainingJobEarlyStoppingType") == "Auto":
            # SageMaker's rule: worse than the median of the jobs before, at the same epoch.
            return pruners.MedianPruner(n_startup_trials=2, n_warmup_steps=1)
        return pruners.NopPruner()


def _grid_sampler(space: dict[str, list[str]], seed: int | None) -> Any:
    from optuna.samplers import GridSampler

    class Grid(GridSampler):  # type: ignore[misc]  # Optuna's types are not followed
        """Optuna's stops ``Study.optimize`` after the last point, which is not what runs here."""

        def after_trial(self, *_: Any) -> None:
            """Do nothing."""

    return Grid(space, seed=seed)


def objective_of(config: Document, definition: Document) -> Document:
    """The objective of a definition: its own, or the tuning job's."""
    return dict(definition.get("TuningObjective") or config["HyperParameterTuningJobObjective"])


def ranges_of(config: Document, definition: Document) -> list[Range]:
    """The ranges of a definition: its own, or the tuning job's. Raises ValidationException for one that is no range."""
    return parse_ranges(definition.get("HyperParameterRanges") or config.get("ParameterRanges", {}))
