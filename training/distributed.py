"""Several processes that train one network together, each on its share of every batch.

They are started by torchrun; see `training.launch`. A process that was started alone is a world of one.
"""

import contextlib
import dataclasses
import datetime
import os
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from training.errors import BinventoryError
from training.sync_batchnorm import synchronised

TIMEOUT = datetime.timedelta(minutes=10)
LINGER = 0.2
"""Seconds from the last exchange to the end. DistributedDataParallel keeps gloo's threads alive, and one that lets go
of a tensor while Python ends aborts the process, which fails the job (pytorch/pytorch, issues 179291 and 190489)."""

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class World:
    """The place of this process among all.

    Attributes:
        rank: number of this process, from zero.
        size: how many there are.
        device: that this process computes on.
    """

    rank: int = 0
    size: int = 1
    device: torch.device = dataclasses.field(default_factory=lambda: default_device())

    @property
    def main(self) -> bool:
        """Whether this is the process that speaks, watches and saves."""
        return self.rank == 0

    def share(self, photos: int) -> Tensor:
        """The positions of a batch of so many photos that are this process's, ascending.

        A position and its opposite (first and last, and so on), which are mixed, belong to the same process; so each
        gets some only of `smallest_batch` photos or more.
        """
        positions = torch.arange(photos)
        return positions[torch.minimum(positions, photos - 1 - positions) % self.size == self.rank]

    @property
    def smallest_batch(self) -> int:
        """Photos of which every process gets a share."""
        return 2 * self.size - 1

    def sums(self, *values: float) -> list[float]:
        """The sums of these values over all processes."""
        if self.size == 1:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(total)
        return [float(value) for value in total.tolist()]

    def gather(self, positions: Tensor, rows: Tensor, total: int) -> Tensor:
        """Put rows that the processes have each a part of back in order; every process gets them all.

        Args:
            positions: of this process's rows.
            rows: shape (len(positions), columns).
            total: rows of all processes.
        """
        if self.size == 1:
            return rows
        whole = torch.empty(total, rows.shape[1], dtype=rows.dtype)
        for theirs, part in self.every((positions.cpu(), rows.cpu())):
            whole[theirs] = part
        return whole

    def every(self, value: T) -> list[T]:
        """The value that each process gives, by rank."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def by_main(self, work: Callable[[], T]) -> T:
        """What the main process's work returns, in every process; or raises, if it is an error of ours.

        The others would otherwise wait for one that has given up.
        """
        if self.size == 1:
            return work()
        outcome: list[Any] = [None]
        if self.main:
            try:
                outcome = [work()]
            except BinventoryError as error:
                outcome = [error]
        dist.broadcast_object_list(outcome)
        if isinstance(outcome[0], BinventoryError):
            raise outcome[0]
        result: T = outcome[0]
        return result

    def synchronised(self, model: nn.Module) -> nn.Module:
        """The network with normalisation over the batches of all processes; the same object, top layer and all."""
        return model if self.size == 1 else synchronised(model)

    def wrapped(self, model: nn.Module) -> nn.Module:
        """The network as it is called in training: its gradients are averaged over the processes."""
        if self.size == 1:
            return model
        devices = [self.device.index] if self.device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(model, device_ids=devices)


def default_device() -> torch.device:
    """The GPU of this process, or the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return torch.device("cpu")


@contextlib.contextmanager
def joined() -> Iterator[World]:
    """Meet the other processes, where torchrun started several; leave them at the end."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    device = default_device()
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if size == 1:
        yield World(device=device)
        return
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=TIMEOUT)
    try:
        yield World(dist.get_rank(), size, device)
    finally:
        dist.destroy_process_group()
        time.sleep(LINGER)
