"""Who answers: the methods that the tables compare, each a callable from a sample to a grey map.

A method is registered by name in `METHODS`; its factory gets the `Workbench`, which holds what
several methods and the reports share (the walls of the current scene, the physics layer's parts of the
current sample), so that nothing is computed twice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rdflux_ros.data.radiomapseer import DataError, Sample
from rdflux_ros.radio.units import grey_from_gain

if TYPE_CHECKING:
    from rdflux_ros.propagation.facades import Facades
    from rdflux_ros.propagation.physics_layer import PathGains

Method = Callable[[Sample], NDArray[np.float32]]
"""From a sample (its truth unseen) to grey [256, 256]; cells without value may hold anything."""


class Workbench:
    """The physics layer over samples; remembers the last scene's walls and the last sample's parts.

    Parameters
    ----------
    device
        ``auto``, ``cpu`` or ``cuda``.
    reflection_order
        Walls a ray may meet; None takes the physics layer's default.

    Raises
    ------
    SettingError
        CUDA is asked for and there is none.
    """

    def __init__(self, device: str = "auto", reflection_order: int | None = None) -> None:
        from rdflux_ros.mapping.mapper import select_device
        from rdflux_ros.propagation.physics_layer import PhysicsConfig, PhysicsLayer

        self.device = select_device(device)
        self.layer = PhysicsLayer(PhysicsConfig() if reflection_order is None else PhysicsConfig(reflection_order))
        self._scene: tuple[str, float] | None = None
        self._facades: Facades | None = None
        self._sample: Sample | None = None
        self._parts: PathGains | None = None

    def facades(self, sample: Sample) -> Facades:
        """Walls of the sample's streets, traced at the resolution of its surroundings."""
        from rdflux_ros.propagation.facades import trace_facades

        key = (sample.scene, sample.resolution)
        if self._facades is None or key != self._scene:
            self._facades = trace_facades(sample.surroundings_m, sample.resolution, self.device)
            self._scene = key
        return self._facades

    def parts(self, sample: Sample) -> PathGains:
        """The physics layer's path gains by mechanism, for a batch of this one transmitter."""
        import torch

        if self._parts is None or self._sample is not sample:
            transmitter = torch.tensor(sample.position[None], dtype=torch.float32, device=self.device)
            self._parts = self.layer(self.facades(sample), transmitter)
            self._sample = sample
        return self._parts

    def visible(self, sample: Sample) -> NDArray[np.bool_]:
        """[256, 256] cells in line of sight of the transmitter."""
        return self.parts(sample).visible[0].cpu().numpy()


def physics(bench: Workbench) -> Method:
    """The physics layer alone."""
    return lambda sample: grey_from_gain(bench.parts(sample).gain_db()[0].cpu().numpy())


METHODS: dict[str, Callable[[Workbench], Method]] = {"physics": physics}


def build_methods(names: list[str] | None, bench: Workbench) -> dict[str, Method]:
    """The named methods, or all; raises `DataError` for a name that is not known."""
    names = list(METHODS) if names is None else names
    unknown = [name for name in names if name not in METHODS]
    if unknown or not names:
        raise DataError(f"unknown method {', '.join(unknown) or '(none)'}; known are {', '.join(METHODS)}")
    return {name: METHODS[name](bench) for name in names}
