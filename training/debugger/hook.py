"""smdebug's hook on the model and its loss, with the steps of the loop rather than a count of its own."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from smdebug.core.access_layer.utils import END_OF_JOB_FILENAME
from smdebug.core.config_constants import CLAIM_FILENAME
from smdebug.core.modes import ModeKeys
from smdebug.core.reduction_config import ReductionConfig
from smdebug.core.save_config import SaveConfig, SaveConfigMode
from smdebug.pytorch import Hook
from torch import Tensor, nn

from training.debugger.activations import RECTIFIERS, Activations
from training.debugger.options import DebugOptions
from training.observer import Mode

MODES: dict[Mode, ModeKeys] = {"train": ModeKeys.TRAIN, "eval": ModeKeys.EVAL}
LABELS = "_input_1$"
PREDICTIONS = "_input_0$"
_NEVER = 10**12

WEIGHT_REDUCTIONS = ReductionConfig(reductions=["std"])
GRADIENT_REDUCTIONS = ReductionConfig(reductions=["std"], abs_reductions=["mean"])
OUTPUT_REDUCTIONS = ReductionConfig(abs_reductions=["max"])


class DebugHook(Hook):  # type: ignore[misc]
    """Records the tensors of the steps that it is asked for, in smdebug's layout.

    smdebug counts a step for each forward pass of the model. A loop may evaluate a copy of the model, or look at a
    photo twice; so here the loop says when a step begins, and what its number is. After an interruption that makes
    the steps continue where the checkpoint was: a step done twice is written over, not beside the first one.
    """

    def __init__(self, folder: Path, options: DebugOptions) -> None:
        for stale in (END_OF_JOB_FILENAME, CLAIM_FILENAME):
            (folder / stale).unlink(missing_ok=True)
        super().__init__(
            out_dir=str(folder),
            reduction_config=ReductionConfig(save_raw_tensor=True),
            save_config={
                ModeKeys.TRAIN: SaveConfigMode(save_interval=options.save_interval_train),
                ModeKeys.EVAL: SaveConfigMode(save_interval=options.save_interval_eval),
            },
            include_collections=["losses", "weights", "gradients"],
        )
        self.folder = folder
        self._options = options
        self._logged = True
        self.exported_collections: bool = False
        self._before: dict[str, Tensor] = {}
        self._activations = Activations()
        self._model: nn.Module | None = None
        self._scale: Callable[[], float] = lambda: 1.0
        self._loss_name = ""
        self._collections_to_save_for_step: set[Any] | None = None

    def watch(self, model: nn.Module, loss: nn.Module, scale: Callable[[], float] = lambda: 1.0) -> None:
        """Register model and loss, and decide what of them is recorded; gradients come multiplied by the scale."""
        self._scale = scale
        loss_name = loss._get_name() if "oss" in loss._get_name() else f"{loss._get_name()}Loss"
        self._collect(model, loss_name)
        self._loss_name = loss_name
        loss._module_name = loss_name  # type: ignore[assignment]
        loss.register_forward_hook(self.forward_hook)
        self.has_registered_loss_module = True
        self._model = model
        model._module_name = model._get_name()
        model.register_forward_pre_hook(self.forward_pre_hook)
        for name, module in model.named_modules():
            if name:
                module._module_name = name
                if _has_output_of_interest(module) or self._options.whole_layers:
                    module.register_forward_hook(self.forward_hook)
        self._backward_apply(model)
        self.has_registered_module = True

    def _collect(self, model: nn.Module, loss_name: str) -> None:
        # Normalisations and biases would triple the bytes, and no rule asks for them.
        matrices = "|".join(re.escape(f"{model._get_name()}_{name}") for name, _ in _matrices(model))
        linear = "|".join(re.escape(name) for name, module in model.named_modules() if isinstance(module, nn.Linear))
        train_only = {
            ModeKeys.TRAIN: SaveConfigMode(save_interval=self._options.save_interval_train),
            ModeKeys.EVAL: SaveConfigMode(start_step=_NEVER),
        }
        for name, pattern, reductions in (
            ("weights", f"^(?:{matrices})$", WEIGHT_REDUCTIONS),
            ("gradients", f"^gradient/(?:{matrices})$", GRADIENT_REDUCTIONS),
        ):
            collection = self.get_collection(name)
            collection.include_regex = [pattern]
            collection.reduction_config, collection.save_config = reductions, SaveConfig(train_only)
        self._add("outputs", [rf"^(?:{linear})_output_\d+$"], OUTPUT_REDUCTIONS, train_only)
        self._add("labels", [f"^{loss_name}{LABELS}"])
        self._add("predictions", [f"^{loss_name}{PREDICTIONS}"])
        for name in ("activity", "saturation", "updates"):
            self._add(name, [f"^{name.removesuffix('s')}/"], None, train_only)
        if self._options.whole_layers:
            self._add("whole", list(self._options.whole_layers), None, train_only)

    def _add(
        self,
        name: str,
        patterns: list[str],
        reductions: ReductionConfig | None = None,
        steps: dict[ModeKeys, SaveConfigMode] | None = None,
    ) -> None:
        collection = self.get_collection(name)
        collection.include(patterns)
        collection.reduction_config = reductions or ReductionConfig(save_raw_tensor=True)
        if steps:
            collection.save_config = SaveConfig(steps)
        self.include_collections.append(name)

    def open_step(self, mode: Mode, step: int, others: int) -> None:
        """Begin a step of the loop.

        Args:
            mode: of training or of validation.
            step: its number within the mode.
            others: steps of the other mode so far; with ``step``, they make smdebug's global step.
        """
        self.close_step()
        if not self.prepared_collections:
            self._prepare_collections()
        key = MODES[mode]
        self.mode, self.step = key, step + others
        self.mode_steps |= {key: step, ModeKeys.GLOBAL: self.step}
        self.written_tensor_name_for_step.clear()
        self._collections_to_save_for_step = None
        self._logged = not self.saving
        if self.saving:
            self._start_writing()

    def _start_writing(self) -> None:
        self._initialize_writers()
        if not self.exported_collections:
            self.export_collections()
            self.exported_collections = True

    def close_step(self) -> None:
        """Write a step's files to their places."""
        if self.writer is not None:
            self._close_writers()
            self.last_saved_step = self.step
        self._before.clear()
        self._logged = True

    def abandon_step(self) -> None:
        """Forget the current step: it was none of the loop's."""
        if self.writer is None:
            return
        written = (self.writer.event_file_path, self.writer.index_writer.file_path)
        self.close_step()
        for path in written:
            Path(path).unlink(missing_ok=True)

    @property
    def saving(self) -> bool:
        """Whether the current step is one that is recorded."""
        return self.prepared_collections and bool(self._get_collections_to_save_for_step())

    def forward_pre_hook(self, module: nn.Module, inputs: Any) -> None:
        """Record the weights that a step begins with, once."""
        if self._logged or self.mode is not ModeKeys.TRAIN:
            return
        self._logged = True
        if self._is_chief:
            self._log_params(module)
            self._before = {name: p.detach().clone() for name, p in _matrices(module)}

    def forward_hook(self, module: nn.Module, inputs: Any, outputs: Any) -> None:
        """Record what a module was given and what it answered."""
        if self.writer is None:
            return
        name = str(module._module_name)
        if not self.has_tensors_of(name):
            return
        self._write_inputs(name, inputs)
        self._write_outputs(name, outputs)
        if self.mode is ModeKeys.TRAIN:
            for tensor_name, value in self._activations.look(module, name, inputs, outputs, self._count(name)):
                self._save_for_tensor(tensor_name, value)

    def backward_hook(self, name: str) -> Callable[[Tensor], None]:
        """Record a weight's gradient without the scale; one that overflowed with it belongs to a step not taken."""
        record: Callable[[Tensor], None] = super().backward_hook(name)

        def unscaled(gradient: Tensor) -> None:
            if self.writer is None:
                return
            scale = self._scale()
            if scale == 1:
                record(gradient)
            elif torch.isfinite(gradient).all():
                record(gradient / scale)

        return unscaled

    def has_tensors_of(self, module: str) -> bool:
        """Whether this step takes anything of a module: losses in validation, layers in training only."""
        return self.mode is ModeKeys.TRAIN or "oss" in module

    def _count(self, name: str) -> int:
        return int(self.written_tensor_name_for_step.get(f"{name}_output_", 1)) - 1

    def record_updates(self) -> None:
        """After the optimizer's step: how far each weight matrix moved, as a share of its own norm."""
        if not self._before or self._model is None or self.writer is None:
            return
        pairs = [(name, p.detach(), self._before[name]) for name, p in _matrices(self._model) if name in self._before]
        moved = torch._foreach_norm(torch._foreach_sub([p for _, p, _ in pairs], [b for _, _, b in pairs]))
        norms = torch._foreach_norm([before for _, _, before in pairs])
        ratios = (torch.stack(moved) / torch.stack(norms).clamp_min(1e-12)).cpu()
        for (name, _, _), ratio in zip(pairs, ratios, strict=True):
            self._save_for_tensor(f"update/{self._model._get_name()}_{name}", ratio)

    def record_loss(self, loss: float) -> None:
        """Record the loss of the current step, and nothing else of it, unless the step is recorded anyway."""
        if self.writer is not None or not self.prepared_collections:
            return
        self._collections_to_save_for_step = {self.get_collection("losses")}
        self._start_writing()
        self._save_for_tensor(f"{self._loss_name}_output_0", torch.tensor(loss))

    def close(self) -> None:
        """Write what is open, and mark the trial as ended."""
        self.close_step()
        super().close()
        if self._is_chief and self.exported_collections:
            (self.folder / END_OF_JOB_FILENAME).touch()

    def _make_numpy_array(self, tensor_value: Any) -> Any:
        """NumPy has no bfloat16, in which outputs may be computed."""
        low = isinstance(tensor_value, Tensor) and tensor_value.dtype is torch.bfloat16
        return super()._make_numpy_array(tensor_value.float() if low else tensor_value)

    @property
    def _is_chief(self) -> bool:
        return bool(self.save_all_workers or self.worker == self.chief_worker)


def _has_output_of_interest(module: nn.Module) -> bool:
    return isinstance(module, (nn.Linear, nn.Tanh, nn.Sigmoid, *RECTIFIERS))


def _matrices(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    return ((name, p) for name, p in model.named_parameters() if p.requires_grad and p.ndim > 1)
