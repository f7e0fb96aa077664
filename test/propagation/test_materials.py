import math

import torch

from rdflux_ros.propagation.materials import (
    LOSS,
    PERMITTIVITY,
    amplitude_p,
    amplitude_s,
    fresnel,
    ground_share,
    wall_share,
)


def test_normal_incidence_is_the_step_of_the_refractive_index():
    """r = (1 - n) / (1 + n), for p with the opposite sign; Born and Wolf, Principles of Optics, 1.5.2."""
    index = torch.sqrt(torch.tensor(complex(PERMITTIVITY, -LOSS)))
    r_s, r_p = fresnel(torch.tensor([1.0]))
    torch.testing.assert_close(r_s[0], (1 - index) / (1 + index))
    torch.testing.assert_close(r_p[0], -(1 - index) / (1 + index))


def test_grazing_incidence_mirrors_with_a_minus():
    r_s, r_p = fresnel(torch.tensor([0.0]))
    torch.testing.assert_close(torch.cat([r_s, r_p]), torch.full((2,), -1 + 0j))


def test_little_of_p_is_reflected_at_brewsters_angle():
    """tan(theta_B) = n for a lossless half-space; concrete's small loss leaves a little."""
    brewster = torch.tensor([math.cos(math.atan(math.sqrt(PERMITTIVITY)))])
    assert fresnel(brewster)[1].abs().item() < 0.05
    assert fresnel(brewster)[0].abs().item() > 0.6


def test_at_45_degrees_r_p_is_the_square_of_r_s():
    """For any index; Azzam, J. Opt. Soc. Am. 69 (1979) 1007."""
    r_s, r_p = fresnel(torch.tensor([math.sqrt(0.5)]))
    torch.testing.assert_close(r_p, r_s * r_s, atol=1e-5, rtol=1e-5)


def test_the_tables_are_the_coefficients():
    cosines = torch.rand(1000, generator=torch.Generator().manual_seed(0))
    r_s, r_p = fresnel(cosines)
    torch.testing.assert_close(amplitude_s(cosines).abs(), r_s.abs(), atol=2e-3, rtol=0)
    torch.testing.assert_close(amplitude_p(cosines).abs(), r_p.abs(), atol=4e-3, rtol=0)
    assert (amplitude_s(cosines) < 0).all(), "what is all s turns its sign at every angle"
    assert amplitude_p(torch.tensor([0.05, 0.95])).sign().tolist() == [-1, 1], "p only below Brewster's angle"


def test_a_level_ray_is_all_s_on_a_wall_and_a_rayful_of_p_on_the_ground():
    cosines = torch.linspace(0.05, 0.95, 10)
    r_s, _ = fresnel(cosines)
    torch.testing.assert_close(wall_share(cosines, torch.zeros(10)), r_s.abs() ** 2, atol=2e-3, rtol=0)
    slope = torch.tensor([-0.1, -1.0, -5.0])
    _, r_p = fresnel(slope.abs() / torch.sqrt(1 + slope**2))
    torch.testing.assert_close(ground_share(slope), r_p.abs() ** 2, atol=2e-3, rtol=0)


def test_a_steep_ray_head_on_is_all_p_on_a_wall():
    slope = torch.tensor([-1.0])
    _, r_p = fresnel(torch.tensor([math.sqrt(0.5)]))
    torch.testing.assert_close(wall_share(torch.ones(1), slope), r_p.abs() ** 2, atol=2e-3, rtol=0)
