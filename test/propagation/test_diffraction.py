import math

import numpy as np
import pytest
import torch
from streets import decibels, streets

from rdflux_ros.propagation.diffraction import diffraction, over_roof_edges, roof_edge_gain, round_corners
from rdflux_ros.propagation.profiles import trace_profiles
from rdflux_ros.propagation.wedge import transition, wedge_terms
from rdflux_ros.radio.units import RECEIVER_HEIGHT, WAVELENGTH


def knife_edge_loss_db(nu: float) -> float:
    """J(nu); ITU-R P.526-15 eq. 31."""
    return 6.9 + 20 * math.log10(math.sqrt((nu - 0.1) ** 2 + 1) + nu - 0.1)


@pytest.mark.parametrize(("nu", "loss"), [(0.0, 6.03), (1.0, 13.8), (2.4, 20.5)])
def test_a_half_plane_loses_what_p526_says(nu, loss):
    """Near the shadow boundary a half-plane (n = 2) is a knife edge, whatever its polarisation."""
    assert knife_edge_loss_db(nu) == pytest.approx(loss, abs=0.3)
    distance = 200.0  # on both sides; nu = theta sqrt(2 / lambda (1/d1 + 1/d2)) ...
    theta = nu / math.sqrt(2 * distance / WAVELENGTH * 0.5)
    incidence = math.pi / 2
    departure = torch.tensor([incidence + math.pi + theta + 1e-4])
    span = torch.tensor([distance / 2])
    mirror = torch.tensor([-1.0])
    power = wedge_terms(2.0, torch.tensor([incidence]), departure, span, torch.ones(1)).gain(mirror, mirror)
    # field of the edge relative to free space over the whole way: sqrt(s'/(s(s+s'))) (s + s') / s' ...
    relative = power * (2 * distance) ** 2 / (distance * distance * 2 * distance)
    assert -decibels(relative).item() == pytest.approx(knife_edge_loss_db(nu), abs=0.6)


def test_the_transition_function():
    """Kouyoumjian and Pathak fig. 6: F -> 1 for large arguments, sqrt(pi x) e^(j pi/4) for small ones."""
    real, imaginary = transition((torch.tensor([1e-6, 100.0]) * (2 / math.pi)).sqrt())
    small = math.sqrt(math.pi * 1e-6) * math.sqrt(0.5)
    assert real[0].item() == pytest.approx(small, rel=0.01) and imaginary[0].item() == pytest.approx(small, rel=0.01)
    assert math.hypot(real[1].item(), imaginary[1].item()) == pytest.approx(1.0, abs=0.01)


def test_a_roof_detour_is_the_shortest_way_over_the_edge():
    """Fermat: against trying every point of the edge."""
    line, roof = torch.tensor([[0.6, 0.8, 100.0]]), torch.tensor([20.0])
    transmitter, receiver = (20.0, 30.0, 55.0), (110.0, 60.0)
    tensors = [tuple(torch.tensor([v]) for v in point) for point in (transmitter, receiver)]
    power, qx, qy = roof_edge_gain(line, roof, *tensors)
    along = np.linspace(-200, 200, 400001)
    edge = np.stack([0.6 * 100 - 0.8 * along, 0.8 * 100 + 0.6 * along, np.full_like(along, 20.0)], 1)
    ways = np.linalg.norm(edge - transmitter, axis=1)
    ways += np.linalg.norm(edge - (*receiver, RECEIVER_HEIGHT), axis=1)
    best = edge[ways.argmin()]
    assert (qx.item(), qy.item()) == pytest.approx(best[:2], abs=0.01)
    assert power.item() > 0


def test_a_detour_by_hand():
    """Over the middle of a wall, all in one plane: |TQ| = 50, |QR| = 50, edge at 90 degrees."""
    line, roof = torch.tensor([[1.0, 0.0, 40.0]]), torch.tensor([31.5])
    at = [tuple(torch.tensor([v]) for v in point) for point in ((0.0, 10.0, 61.5), (80.0, 10.0))]
    power, qx, qy = roof_edge_gain(line, roof, *at)
    assert (qx.item(), qy.item()) == pytest.approx((40.0, 10.0))
    free = (WAVELENGTH / (4 * math.pi)) ** 2 / (50.0 + 50.0) ** 2
    bend = math.atan2(30, 40) * 2 - 0.0
    assert bend > 0 and decibels(power / free).item() < -20  # deep in the shadow: 74 degrees


def test_nothing_passes_through_the_roof_to_the_other_side():
    """A transmitter below the roof sees only the near edge, from which a flat roof hides the far side."""
    facades = streets((100, 140, 0, 256, 20))
    profiles = trace_profiles(facades, torch.tensor([[60.0, 128.0, 10.0]]))
    gain = diffraction(facades, profiles)[0].view(256, 256)
    assert gain[128, 150:240].max() == 0


def test_into_a_dark_street_bend_the_roof_that_hides_it_and_the_one_opposite():
    """Each alone, then both: the powers of the two add up, and no other edge takes part."""
    near, far = (100, 120, -23, 279, 20), (140, 160, -23, 279, 20)
    transmitter, cell = torch.tensor([[60.0, 128.5, 40.0]]), 128 * 256 + 135

    def paths(*blocks):
        facades = streets(*blocks)
        profiles = trace_profiles(facades, transmitter)
        assert not profiles.visible[0, cell]
        index, power = over_roof_edges(facades, profiles, ~profiles.visible & facades.free)
        return power[(index == cell) & (power > 0)]

    def over(x, outward):
        line, roof = torch.tensor([[outward, 0.0, outward * x]]), torch.tensor([20.0])
        at = [tuple(torch.tensor([v]) for v in point) for point in ((60.0, 128.5, 40.0), (135.5, 128.5))]
        return roof_edge_gain(line, roof, *at)[0].item()

    assert paths(near).tolist() == pytest.approx([over(120.0, 1.0)], rel=0.02)
    both = paths(near, far)
    assert sorted(both.tolist()) == pytest.approx(sorted([over(120.0, 1.0), over(140.0, -1.0)]), rel=0.02)


def test_a_roof_edge_that_the_transmitter_does_not_see_bends_nothing():
    """The block opposite is as low as the shadow that the near one casts on it."""
    facades = streets((100, 120, -23, 279, 20), (140, 160, -23, 279, 8))
    profiles = trace_profiles(facades, torch.tensor([[60.0, 128.5, 40.0]]))
    index, power = over_roof_edges(facades, profiles, ~profiles.visible & facades.free)
    assert ((index == 128 * 256 + 135) & (power > 0)).sum() == 1


def test_several_transmitters_bend_as_each_alone():
    facades = streets((100, 120, 20, 236, 20), (140, 160, 20, 236, 20))
    both = torch.tensor([[60.0, 128.5, 40.0], [200.0, 70.0, 30.0]])
    together = diffraction(facades, trace_profiles(facades, both))
    for alone, position in zip(together, both, strict=True):
        torch.testing.assert_close(alone, diffraction(facades, trace_profiles(facades, position[None]))[0])


def test_round_a_corner_the_shadow_deepens_with_the_angle():
    facades = streets((-23, 100, 100, 279, 60))
    profiles = trace_profiles(facades, torch.tensor([[50.0, 60.0, 10.0]]))
    index, power = round_corners(facades, profiles, ~profiles.visible & facades.free)
    gain = torch.zeros(65536).index_add(0, index, power).view(256, 256)
    row = decibels(gain[180, 105:195])
    assert (row > -200).sum() > 60 and (row[row > -200].diff() > 0).all()  # ever nearer to the shadow boundary
    # just inside the shadow a corner is a knife edge
    transmitter, corner, compared = (50.0, 60.0, 10.0), (100.0, 100.0), 0
    for column in range(190, 201):
        receiver = (column + 0.5, 180.5, RECEIVER_HEIGHT)
        before, after = math.dist(transmitter[:2], corner), math.dist(corner, receiver[:2])
        detour = math.hypot(before + after, transmitter[2] - RECEIVER_HEIGHT)
        direct = math.dist(transmitter, receiver)
        nu = 2 * math.sqrt((detour - direct) / WAVELENGTH)
        if gain[180, column] > 0 and nu < 2.5:
            free = 20 * math.log10(WAVELENGTH / (4 * math.pi * direct))
            assert free - decibels(gain[180, column]).item() == pytest.approx(knife_edge_loss_db(nu), abs=1.5)
            compared += 1
    assert compared >= 2
