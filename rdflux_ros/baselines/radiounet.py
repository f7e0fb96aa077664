"""RadioUNet (Levie, Yapar, Kutyniok, Caire, IEEE TWC 2021), RadioUNet_C: a U-Net and a second one that corrects it.

Widths, kernels and poolings are those of its authors' code. It is built for two kinds of input: as published, and on
the images that our own networks see, there as a residual over the physics layer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from rdflux_ros.flux.conditions import DYNAMICS, METRES, STREETS
from rdflux_ros.model import checkpoint
from rdflux_ros.networks.blocks import zeroed
from rdflux_ros.radio.grid import WINDOW_M

FORMAT = "rdflux_ros radiounet"
INPUTS = {"published": 2, "physics": len(STREETS) + len(DYNAMICS)}
"""Kinds of input and their channels."""
DOWN = ((3, 1), (5, 2), (5, 2), (5, 1), (5, 2), (3, 1), (5, 2), (5, 2), (5, 2))
"""Kernel and pooling of each layer down."""
UP = ((4, 2), (4, 2), (4, 2), (3, 1), (6, 2), (5, 1), (6, 2), (6, 2))
"""Kernel and stretch of each layer up; those that stretch are transposed convolutions."""
FIRST = (6, 40, 50, 60, 100, 100, 150, 300, 500), (300, 150, 100, 100, 60, 50, 40, 20)
SECOND = (20, 30, 40, 50, 60, 70, 90, 110, 150), (110, 90, 70, 60, 50, 40, 30, 20)
"""Widths down and up of either U-Net."""
FIRST_OF_MANY = 10
"""Width of the first layer where there are more than three inputs."""
LAST = 20


class UNet(nn.Module):
    """One of the two: nine layers down, eight up, each of which sees its mirror, then two that see the input again."""

    def __init__(self, inputs: int, down: Sequence[int], up: Sequence[int]) -> None:
        super().__init__()
        before = (inputs, *down)
        self.down = nn.ModuleList(
            nn.Sequential(nn.Conv2d(before[k], width, kernel, padding=kernel // 2), nn.ReLU(), nn.MaxPool2d(pool))
            for k, (width, (kernel, pool)) in enumerate(zip(down, DOWN, strict=True))
        )
        self.up = nn.ModuleList()
        width = down[-1]
        for outputs, mirror, (kernel, stretch) in zip(up, reversed(down[:-1]), UP, strict=True):
            layer: nn.Module = nn.Conv2d(width, outputs, kernel, padding=kernel // 2)
            if stretch == 2:
                layer = nn.ConvTranspose2d(width, outputs, kernel, stride=2, padding=kernel // 2 - 1)
            self.up.append(layer)
            width = outputs + mirror
        self.gather = nn.Conv2d(width + inputs, LAST, 5, padding=2)
        self.last = nn.Conv2d(LAST + inputs, 1, 5, padding=2)

    def forward(self, image: Tensor) -> Tensor:
        """[B, 1, 256, 256], of either sign, from [B, inputs, 256, 256]."""
        h, mirrors = image, []
        for layer in self.down:
            h = layer(h)
            mirrors.append(h)
        mirrors.pop()
        for layer in self.up:
            h = torch.cat([relu(layer(h)), mirrors.pop()], dim=1)
        h = relu(self.gather(torch.cat([h, image], dim=1)))
        return self.last(torch.cat([h, image], dim=1))


class RadioUNet(nn.Module):
    """Both U-Nets on one kind of input.

    ``published``: the city and the transmitter's cell. The published images are 0 and 1, since there all buildings and
    all transmitters have one height; here the values are heights [100 m], else the network could not know them.
    ``physics``: the static and the dynamic image (`flux.conditions`); the answer is added to the physics layer's, and
    is nothing at first.

    Parameters
    ----------
    inputs
        Of `INPUTS`.
    """

    def __init__(self, inputs: str) -> None:
        super().__init__()
        self.inputs = inputs
        channels = INPUTS[inputs]
        widths = (FIRST_OF_MANY, *FIRST[0][1:]) if channels > 3 else FIRST[0]
        self.first = UNet(channels, widths, FIRST[1])
        self.second = UNet(channels + 1, *SECOND)
        if inputs == "physics":
            zeroed(self.first.last)
            zeroed(self.second.last)

    def forward(
        self, streets: Tensor, dynamics: Tensor | None, transmitters: Tensor, base: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Greys [B, 1, 256, 256] of the first U-Net and, from them, of the second one; not clipped above.

        Parameters
        ----------
        streets, dynamics, base
            [B, 2, 256, 256], [B, 12, 256, 256], [B, 1, 256, 256]: what the streets and the pose tell, the physics
            layer's greys; the last two are None where the inputs are as published.
        transmitters
            [B, 3] x, y [m] from the window's south-west corner, z [m] above ground.
        """
        if self.inputs == "published":
            image = torch.cat([streets[:, :1], transmitter_image(transmitters)], dim=1)
            first = relu(self.first(image))
            return first, relu(self.second(torch.cat([first.detach(), image], dim=1)))
        assert dynamics is not None and base is not None
        image = torch.cat([streets, dynamics], dim=1)
        first = self.first(image)
        second = first.detach() + self.second(torch.cat([first.detach(), image], dim=1))
        return base + first, base + second


def transmitter_image(transmitters: Tensor) -> Tensor:
    """[B, 1, 256, 256]: height [100 m] in each transmitter's cell, the nearest one where it is outside."""
    image = torch.zeros(len(transmitters), 1, WINDOW_M, WINDOW_M, device=transmitters.device)
    col, row = transmitters[:, :2].long().clamp(0, WINDOW_M - 1).unbind(1)
    image[torch.arange(len(transmitters)), 0, row, col] = transmitters[:, 2] / METRES
    return image


def save(network: RadioUNet, path: Path, notes: Mapping[str, Any]) -> str:
    """Write a trained network; the file appears whole or not at all. Returns its digest."""
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    return checkpoint.write_file(path, FORMAT, json.dumps({"inputs": network.inputs}), weights, notes)


def load(path: Path) -> tuple[RadioUNet, str]:
    """The network of a file, in evaluation mode, and its digest.

    Raises
    ------
    CheckpointError
        The file is missing, damaged, or holds something else.
    """
    found = checkpoint.read_file(path, FORMAT)
    inputs = json.loads(found.settings).get("inputs")
    if inputs not in INPUTS:
        raise checkpoint.CheckpointError(f"{path}: unknown inputs {inputs!r}; known are {', '.join(INPUTS)}")
    network = RadioUNet(inputs)
    try:
        network.load_state_dict(found.weights)
    except RuntimeError as error:
        raise checkpoint.CheckpointError(f"{path}: weights do not fit ({str(error).splitlines()[0]})") from error
    return network.eval(), found.digest
