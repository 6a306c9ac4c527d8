"""Several processes as one: torchrun's environment, and the sums that they share.

Each process has all the networks and takes its part of each batch; gradients are averaged once a step, in one piece.
Not DistributedDataParallel: it hooks into one forward of one module, and here a step runs E, G and D several times,
with spectral norm's buffers in between. Gradients are all that differs between processes: once they are averaged,
buffers, weights, averages and optimisers stay equal by themselves. Of W only the rows of the batch travel.
"""

import contextlib
import importlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from fewshot_reenact.errors import UsageError


@dataclass(frozen=True)
class World:
    """This process's number and how many there are."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes files and talks."""
        return self.rank == 0

    def share(self, batch: int) -> int:
        """Episodes of a batch for each process. Raises UsageError when they cannot be shared out evenly."""
        if batch % self.size:
            raise UsageError(f"batch: {batch} episodes cannot be shared out evenly to {self.size} processes")
        return batch // self.size

    def indices(self, first: int, steps: int, batch: int) -> "_Indices":
        """This process's episodes of steps first..steps - 1."""
        return _Indices(self, first, steps, batch)

    @torch.no_grad()
    def average_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Replace every gradient by its mean over the processes."""
        if self.size == 1:
            return
        dense = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([grad.flatten() for grad in dense])
        dist.all_reduce(flat)
        flat /= self.size
        at = 0
        for grad in dense:
            grad.copy_(flat[at : at + grad.numel()].view_as(grad))
            at += grad.numel()

    @torch.no_grad()
    def average_rows(self, weight: Tensor) -> None:
        """The same for a sparse gradient of rows: numbers and values of every process's rows are gathered."""
        if self.size == 1 or weight.grad is None:
            return
        indices, values = weight.grad._indices().contiguous(), weight.grad._values().contiguous()
        every = (
            [torch.empty_like(indices) for _ in range(self.size)],
            [torch.empty_like(values) for _ in range(self.size)],
        )
        dist.all_gather(every[0], indices)
        dist.all_gather(every[1], values)
        weight.grad = torch.sparse_coo_tensor(
            torch.cat(every[0], 1),
            torch.cat(every[1]) / self.size,
            weight.shape,
            is_coalesced=False,
            check_invariants=False,
        )

    def mean(self, values: Tensor) -> Tensor:
        """The mean over the processes."""
        if self.size > 1:
            values = values.detach().clone()
            dist.all_reduce(values)
            values /= self.size
        return values

    def any(self, mine: bool, device: torch.device) -> bool:
        """Whether it is so in any process: all must stop at the same step."""
        return mine if self.size == 1 else bool(self.mean(torch.tensor(float(mine), device=device)) > 0)

    def wait(self) -> None:
        """Until all are here."""
        if self.size > 1:
            dist.barrier()


class _Indices:
    """A sampler. Step t's batch is episodes t * batch ... whoever makes them, so that a run may go on elsewhere."""

    def __init__(self, world: World, first: int, steps: int, batch: int):
        self.world, self.first, self.steps, self.batch = world, first, steps, batch
        self.mine = world.share(batch)

    def __len__(self) -> int:
        return max(0, self.steps - self.first) * self.mine

    def __iter__(self) -> Iterator[int]:
        for step in range(self.first, self.steps):
            start = step * self.batch + self.world.rank * self.mine
            yield from range(start, start + self.mine)


@contextlib.contextmanager
def join(device: torch.device) -> Iterator[tuple[World, torch.device]]:
    """The world that torchrun made, and this process's device in it; alone when there is none."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield World(), device
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    # Its functions have the group of the moment as a default argument. Imported later, by torch.optim, they would keep
    # the group and its threads beyond destroy_process_group, into the end of the interpreter, where those may abort.
    importlib.import_module("torch.distributed.nn.functional")

    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield World(dist.get_rank(), dist.get_world_size()), device
    finally:
        dist.destroy_process_group()
