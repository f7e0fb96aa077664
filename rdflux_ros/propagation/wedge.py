"""Diffraction at a wedge of concrete by the uniform theory of diffraction (UTD).

Kouyoumjian and Pathak, Proc. IEEE 62 (1974) 1448, with Fresnel coefficients for lossy faces after Luebbers,
IEEE Trans. AP 32 (1984) 70, arranged as Sionna RT 2.2 does: D = R_0 (D_1 - D_4) + R_n (D_2 - D_3), R_n = 1 where
the source does not see the n-face (its -1 is of fields whose bases turn all signs). There it departs from the exact
wedge by some dB, far from the shadow boundary.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from rdflux_ros.radio.units import WAVELENGTH

WAVENUMBER = 2 * math.pi / WAVELENGTH
"""[1/m]"""


def transition(z: Tensor) -> tuple[Tensor, Tensor]:
    """UTD transition function F(pi z^2 / 2), real and imaginary part; Kouyoumjian and Pathak eq. 26.

    By rational fits to the auxiliary Fresnel functions f and g (Abramowitz and Stegun 7.3.5, 7.3.6) with their exact
    values at 0 and at infinity; within 1.6 % of F everywhere (0.11 dB of its magnitude).
    """
    f = _polynomial(z, 1.0, 1.008, 0.704).div_(_polynomial(z, 2.0, 2.205, 3.284, 0.704 * math.pi))
    g = _polynomial(z, 2.0, 5.070, -0.539, math.pi**2).reciprocal_()
    scale = math.pi * z
    return f.mul_(scale), g.mul_(scale)


def _polynomial(z: Tensor, *coefficients: float) -> Tensor:
    """By Horner, lowest coefficient first."""
    *lower, result = coefficients
    value = z * result
    for coefficient in lower[:0:-1]:
        value.add_(coefficient).mul_(z)
    return value.add_(lower[0])


@dataclass(frozen=True)
class WedgeTerms:
    """What a path round a wedge of P is made of, whatever its faces reflect: all [P].

    Parameters
    ----------
    across_0, across_n
        Real and imaginary part of D_1 - D_4 and of D_2 - D_3.
    facing_n
        Whether the source sees the n-face.
    divisor
        What the squared sum has to be divided by [1/m].
    """

    across_0: tuple[Tensor, Tensor]
    across_n: tuple[Tensor, Tensor]
    facing_n: Tensor
    divisor: Tensor

    def gain(self, r_0: Tensor, r_n: Tensor) -> Tensor:
        """Squared magnitude of the diffraction coefficient [m], from the faces' amplitude reflection coefficients."""
        r_n = torch.where(self.facing_n, r_n, 1.0)
        real, imaginary = ((r_0 * zero).addcmul_(r_n, n) for zero, n in zip(self.across_0, self.across_n, strict=True))
        return real.square_().addcmul_(imaginary, imaginary).div_(self.divisor)


def wedge_terms(
    exterior: Tensor | float, incidence: Tensor, departure: Tensor, span: Tensor, sin_edge: Tensor
) -> WedgeTerms:
    """Of P paths.

    Parameters
    ----------
    exterior
        n: exterior angle of the wedge in units of pi.
    incidence, departure
        phi' and phi: angles of source and receiver from the 0-face, through free space [rad].
    span
        L = s s' sin^2(beta_0) / (s + s') [m].
    sin_edge
        Sine of the angle beta_0 between ray and edge.
    """
    # F's argument is k L a(beta) = pi z^2 / 2 with z = |cos| sqrt(4 k L / pi)
    reach = torch.sqrt(span * (4 * WAVENUMBER / math.pi))
    half_turn, whole = exterior * math.pi, 1 / (2 * math.pi * exterior)

    def term(beta: Tensor, sign: int) -> tuple[Tensor, Tensor]:
        """cot((pi +- beta) / 2n) F(k L a(beta)), real and imaginary part."""
        turns = (beta + sign * math.pi).mul_(whole).round_()
        cos = turns.mul_(half_turn).sub_(beta, alpha=0.5).cos_()
        real, imaginary = transition(cos.abs_().mul_(reach))
        tan = (math.pi + sign * beta).mul_(math.pi * whole).tan_()
        # on a shadow boundary F vanishes with the tangent and the product stays finite
        tan = torch.where(tan.abs() < 1e-5, torch.where(tan < 0, -1e-5, 1e-5), tan)
        return real.div_(tan), imaginary.div_(tan)

    difference, total = departure - incidence, departure + incidence
    d_1, d_2, d_3, d_4 = term(difference, 1), term(difference, -1), term(total, 1), term(total, -1)
    across_0 = (d_1[0] - d_4[0], d_1[1] - d_4[1])
    across_n = (d_2[0] - d_3[0], d_2[1] - d_3[1])
    divisor = (2 * exterior * sin_edge).square_().mul_(2 * math.pi * WAVENUMBER)
    return WedgeTerms(across_0, across_n, incidence >= half_turn - math.pi, divisor)
