"""Mixed precision: what the network computes in, and the scaling of gradients that float16 needs."""

import contextlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from training.errors import TrainingError

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
AUTO = "auto"
PRECISION_CHOICES = (AUTO, *PRECISIONS)

_CPU_FACTS = Path("/proc/cpuinfo")


def chosen(name: str, device: torch.device) -> str:
    """What `AUTO` means on this machine: bfloat16 on CPUs that multiply matrices of it (AMX), else float32.

    GPUs get float32 too: EfficientNet-Lite0 keeps them waiting for its next operation, whatever it computes in.
    """
    if name != AUTO:
        return name
    able = device.type == "cpu" and _CPU_FACTS.exists() and "amx_bf16" in _CPU_FACTS.read_text()
    return "bfloat16" if able else "float32"


class Precision:
    """Runs a network in a precision, and an optimizer on what comes of it. The weights stay float32.

    Attributes:
        name: one of `PRECISIONS`.
    """

    def __init__(self, name: str, device: torch.device) -> None:
        """Take one of `PRECISION_CHOICES` for a device.

        Raises:
            TrainingError: float16 on a CPU, where it is slower than float32 and gains nothing.
        """
        self.name = chosen(name, device)
        if self.name == "float16" and device.type != "cuda":
            raise TrainingError("precision float16 needs a GPU; take bfloat16 or float32 here")
        self._dtype, self._device = PRECISIONS[self.name], device
        self._scaler = torch.amp.GradScaler(device.type, enabled=self.name == "float16")

    def __call__(self) -> contextlib.AbstractContextManager[Any]:
        """The context in which to run the network."""
        if self._dtype == torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(self._device.type, self._dtype)

    @property
    def scale(self) -> float:
        """What gradients are too large by while they are computed; 1 but with float16."""
        return float(self._scaler.get_scale())

    def step(self, loss: Tensor, optimizer: torch.optim.Optimizer, model: nn.Module, clip: float) -> None:
        """Gradients, clipped to a norm, and one step of the optimizer."""
        optimizer.zero_grad(set_to_none=True)
        self._scaler.scale(loss).backward()
        self._scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), clip)
        self._scaler.step(optimizer)
        self._scaler.update()

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        return dict(self._scaler.state_dict())

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a checkpoint."""
        self._scaler.load_state_dict(state)
