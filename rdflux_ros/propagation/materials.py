"""What walls and ground of concrete do to a wave: Fresnel coefficients of a half-space, ITU-R P.2040."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from rdflux_ros.radio.units import CARRIER_FREQUENCY

PERMITTIVITY = 5.24
"""Real relative permittivity of concrete, ITU-R P.2040 table 3."""
CONDUCTIVITY = 0.0462 * (CARRIER_FREQUENCY / 1e9) ** 0.7822
"""[S/m], ITU-R P.2040 table 3."""
VACUUM_PERMITTIVITY = 8.8541878128e-12
LOSS = CONDUCTIVITY / (2 * math.pi * CARRIER_FREQUENCY * VACUUM_PERMITTIVITY)
"""Imaginary relative permittivity; epsilon = PERMITTIVITY - j LOSS."""


def fresnel(cos_incidence: Tensor) -> tuple[Tensor, Tensor]:
    """Reflection coefficients (r_s, r_p) of the half-space, complex; ITU-R P.2040 eq. 31a, 31b.

    Parameters
    ----------
    cos_incidence
        Cosine of the angle between ray and surface normal, 0 to 1.
    """
    epsilon = complex(PERMITTIVITY, -LOSS)
    root = torch.sqrt(epsilon - 1.0 + (cos_incidence * cos_incidence).to(torch.complex64))
    return (cos_incidence - root) / (cos_incidence + root), (
        (epsilon * cos_incidence - root) / (epsilon * cos_incidence + root)
    )


_TABLE_SIZE = 1024
_COSINES = torch.linspace(0.0, 1.0, _TABLE_SIZE)
_R_S, _R_P = fresnel(_COSINES)
_TABLES = {
    "reflectance_s": _R_S.abs().square(),
    "reflectance_p": _R_P.abs().square(),
    "amplitude_s": _R_S.abs() * _R_S.real.sign(),
    "amplitude_p": _R_P.abs() * _R_P.real.sign(),
}
_ON_DEVICE: dict[tuple[str, torch.device], Tensor] = {}


def _looked_up(name: str, cos_incidence: Tensor) -> Tensor:
    """Nearest of 1024 tabulated values: complex square roots of every hit would cost more than the rays."""
    key = (name, cos_incidence.device)
    if key not in _ON_DEVICE:
        _ON_DEVICE[key] = _TABLES[name].to(cos_incidence.device)
    index = (cos_incidence * (_TABLE_SIZE - 1) + 0.5).contiguous().to(torch.int32).clamp_(0, _TABLE_SIZE - 1)
    return _ON_DEVICE[key].index_select(0, index.view(-1)).view(index.shape)


def amplitude_s(cos_incidence: Tensor) -> Tensor:
    """Signed magnitude of r_s: concrete's small phase is left out."""
    return _looked_up("amplitude_s", cos_incidence)


def amplitude_p(cos_incidence: Tensor) -> Tensor:
    """Signed magnitude of r_p: concrete's small phase is left out."""
    return _looked_up("amplitude_p", cos_incidence)


def wall_share(cos_plan: Tensor, slope: Tensor) -> Tensor:
    """Share of a vertically polarised wave's power that a vertical wall reflects.

    The field splits into the parts across (s) and in (p) the plane of incidence, each reflected by its own coefficient.

    Parameters
    ----------
    cos_plan
        Cosine of the plan-view angle between ray and wall normal, 0 to 1.
    slope
        Rise of the ray per metre of plan length.
    """
    level = 1.0 / (1.0 + slope * slope)  # cos^2 of the elevation
    normal_part = cos_plan * cos_plan
    across = (1.0 - normal_part).clamp_min(0.0)
    tilted = (1.0 - level) * normal_part
    share_p = tilted / (across + tilted).clamp_min(1e-9)
    # a level ray has no part in the plane of incidence but at exactly normal incidence, where both are one
    cos_incidence = cos_plan * level.sqrt()
    reflectance_s = _looked_up("reflectance_s", cos_incidence)
    reflectance_p = _looked_up("reflectance_p", cos_incidence)
    return reflectance_s + share_p * (reflectance_p - reflectance_s)


def ground_share(slope: Tensor) -> Tensor:
    """Share of a vertically polarised wave's power that level ground reflects; `slope` as in `wall_share`."""
    return _looked_up("reflectance_p", slope.abs() / torch.sqrt(1.0 + slope * slope))
