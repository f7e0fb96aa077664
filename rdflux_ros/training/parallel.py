"""Several processes that train one network, started by torchrun; Lightning Fabric connects them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn


class Ranks:
    """The processes of a training: alone unless torchrun started several, one for each GPU (or CPU process).

    Parameters
    ----------
    device
        What the first of them computes on; others take the next of its kind.

    Attributes
    ----------
    rank, count
        Number of this process, and of all.
    device
        Of this process.

    Raises
    ------
    MissingExtraError
        Several were started and lightning-fabric is not installed.
    """

    def __init__(self, device: torch.device) -> None:
        self.rank, self.count, self.device = 0, int(os.environ.get("WORLD_SIZE", "1")), device
        if self.count > 1:
            self._fabric = _fabric(device)
            self._fabric.launch()
            self.rank, self.device = self._fabric.global_rank, self._fabric.device

    @property
    def first(self) -> bool:
        """This process writes, validates and talks."""
        return self.rank == 0

    def agreed(self, decision: bool) -> bool:
        """The first process's decision."""
        return decision if self.count == 1 else bool(self._fabric.broadcast(decision))

    def average(self, loss: Tensor, parameters: Iterable[nn.Parameter]) -> float:
        """Make all gradients the mean over the processes, in one message; the mean loss."""
        if self.count == 1:
            return float(loss.detach())
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        flat = torch.cat([loss.detach().view(1), *(gradient.flatten() for gradient in gradients)])
        mean = self._fabric.all_reduce(flat, reduce_op="mean")
        assert isinstance(mean, Tensor)
        for gradient, part in zip(gradients, mean[1:].split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))
        return float(mean[0])


def _fabric(device: torch.device) -> Any:
    try:
        from lightning_fabric import Fabric
    except ImportError as error:
        from rdflux_ros.networks.autoencoder import MissingExtraError

        needed = "several processes need lightning-fabric: pip install 'rdflux_ros[training]'"
        raise MissingExtraError(needed) from error
    here, everywhere = int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["WORLD_SIZE"])
    return Fabric(accelerator=device.type, strategy="ddp", devices=here, num_nodes=everywhere // here)
