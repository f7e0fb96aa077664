import cmath
import math

import numpy as np
import pytest
import torch
from scipy.special import fresnel
from streets import decibels, streets

from rdflux_ros.propagation.diffraction import (
    diffraction,
    edge_point,
    lit_corners,
    over_roof_edges,
    roof_edge_gain,
    round_corners,
)
from rdflux_ros.propagation.materials import amplitude_p
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


@pytest.mark.parametrize("z", [0.05, 0.1, 0.3, 0.7, 1.0, 1.5, 2.0, 3.0])
def test_the_transition_function_by_fresnel_integrals(z):
    """F = 2j sqrt(x) e^(jx) times the integral of e^(-j u^2) from sqrt(x) on; Kouyoumjian and Pathak eq. 26."""
    x = math.pi * z * z / 2
    s, c = fresnel(z)
    integral = math.sqrt(math.pi / 2) * complex(0.5 - c, -(0.5 - s))
    expected = 2j * math.sqrt(x) * cmath.exp(1j * x) * integral
    real, imaginary = transition(torch.tensor([z]))
    assert abs(complex(real.item(), imaginary.item()) - expected) < 0.016 * abs(expected)


@pytest.mark.parametrize(("incidence", "departure"), [(2.0, 4.0), (2.5, 4.5), (3.0, 3.9)])
def test_a_right_angled_conductor_whose_faces_the_source_both_sees(incidence, departure):
    """Keller's coefficient for the soft conductor, J. Opt. Soc. Am. 52 (1962) 116 eq. 4, far from the boundaries."""
    n, k = 1.5, 2 * math.pi / WAVELENGTH
    mirror = torch.tensor([-1.0])
    terms = wedge_terms(n, *(torch.tensor([v]) for v in (incidence, departure, 1e4)), torch.ones(1))
    cosine = math.cos(math.pi / n)
    difference, total = (math.cos((departure + sign * incidence) / n) for sign in (-1, 1))
    keller = (math.sin(math.pi / n) / n) ** 2 / (2 * math.pi * k)
    keller *= (1 / (cosine - difference) - 1 / (cosine - total)) ** 2
    assert terms.facing_n.all()
    assert decibels(terms.gain(mirror, mirror)).item() == pytest.approx(10 * math.log10(keller), abs=0.05)


def test_a_roof_detour_is_the_shortest_way_over_the_edge():
    """Fermat: against trying every point of the edge."""
    line, roof = torch.tensor([[0.6, 0.8, 100.0]]), torch.tensor([20.0])
    transmitter, receiver = (20.0, 30.0, 55.0), (110.0, 60.0)
    along = np.linspace(-200, 200, 400001)
    edge = np.stack([0.6 * 100 - 0.8 * along, 0.8 * 100 + 0.6 * along, np.full_like(along, 20.0)], 1)
    ways = np.linalg.norm(edge - transmitter, axis=1)
    ways += np.linalg.norm(edge - (*receiver, RECEIVER_HEIGHT), axis=1)

    def seen_from_the_edge(x, y, z):
        away = math.hypot(0.6 * x + 0.8 * y - 100, z - 20)
        return torch.tensor([away]), torch.tensor([0.6 * y - 0.8 * x])

    at = edge_point(*seen_from_the_edge(*transmitter), *seen_from_the_edge(*receiver, RECEIVER_HEIGHT))
    assert at.item() == pytest.approx(along[ways.argmin()], abs=0.01)
    tensors = [tuple(torch.tensor([v]) for v in point) for point in (transmitter, receiver)]
    assert roof_edge_gain(line, roof, *tensors).item() > 0


def test_a_detour_by_hand():
    """Over the middle of a wall, all in one plane: |TQ| = 50, |QR| = 50, edge at 90 degrees."""
    line, roof = torch.tensor([[1.0, 0.0, 40.0]]), torch.tensor([31.5])
    at = [tuple(torch.tensor([v]) for v in point) for point in ((0.0, 10.0, 61.5), (80.0, 10.0))]
    power = roof_edge_gain(line, roof, *at)
    assert edge_point(*(torch.tensor([v]) for v in (50.0, 10.0, 50.0, 10.0))).item() == pytest.approx(10.0)
    # symmetric: incidence and departure 37 degrees above and below the roof's plane and its continuation
    incidence, departure = math.atan2(30, 40), math.pi + math.atan2(30, 40)
    terms = wedge_terms(1.5, *(torch.tensor([v]) for v in (incidence, departure, 25.0)), torch.ones(1))
    bent = terms.gain(amplitude_p(torch.tensor([0.6])), amplitude_p(torch.tensor([0.8])))
    free = (WAVELENGTH / (4 * math.pi)) ** 2
    assert power.item() == pytest.approx(free * bent.item() / (50.0 * 50.0 * 100.0), rel=1e-3)
    assert -50 < decibels(power / (free / 100.0**2)).item() < -40  # deep in the shadow: 74 degrees


def test_nothing_low_that_stands_before_a_receiver_is_looked_past():
    """A low block hides the high one's edge from all behind it, however far that is; its own edge is in the dark."""
    facades = streets((60, 70, -23, 279, 20), (225, 233, -23, 279, 8), resolution=0.5)
    profiles = trace_profiles(facades, torch.tensor([[20.0, 128.5, 22.0]]))
    index, power = over_roof_edges(facades, profiles, ~profiles.visible & facades.free)
    gain = torch.zeros(65536).index_add(0, index, power).view(256, 256)
    assert gain[128, 72:220].min() > 0 and gain[128, 234:].max() == 0


def test_a_tower_on_a_podium_bends_round_its_corners_too():
    """Seen from high enough, past the podium's own roof: not through it."""
    podium, tower = (90, 150, 90, 150, 6), (110, 130, 110, 130, 30)
    facades = streets(podium, tower)
    corners = facades.corners
    on_podium = (corners.base > 5).nonzero()[:, 0]
    assert len(on_podium) == 4
    seen = [corners.within[c, -1] - corners.within[c, 0] for c in on_podium]
    assert min(seen) > 10_000
    profiles = trace_profiles(facades, torch.tensor([[60.0, 60.0, 28.0]]))
    dark = ~profiles.visible & facades.free
    index, power = round_corners(facades, profiles, dark)
    gain = torch.zeros(65536).index_add(0, index, power).view(256, 256)
    assert gain[200:220, 200:220].max() > 0
    assert gain[151:154, 151:154].max() < gain[200:220, 200:220].max()


def test_a_tower_bends_over_lower_buildings_too():
    """Round a corner 60 m high, the way to the ground clears a low block but for its shadow."""
    facades = streets((-23, 100, 100, 279, 60), (115, 145, 150, 256, 8))
    profiles = trace_profiles(facades, torch.tensor([[50.0, 60.0, 70.0]]))
    dark = ~profiles.visible & facades.free
    index, power = round_corners(facades, profiles, dark)
    gain = torch.zeros(65536).index_add(0, index, power).view(256, 256)
    # from (100, 100) the way passes 146 m on at 60.9 / 146 m a metre
    dark = dark.view(256, 256)
    behind = dark[175:250, 146:149], gain[175:250, 146:149]
    beyond = dark[175:250, 175:200], gain[175:250, 175:200]
    assert behind[0].sum() > 50 and behind[1][behind[0]].max() == 0
    assert beyond[0].sum() > 300 and (beyond[1][beyond[0]] > 0).float().mean() > 0.95


def test_what_stands_close_before_a_corner_hides_it_from_the_transmitter():
    """A mast 1 m before the corner of a tower; the fan takes it for the tower."""

    def is_lit(*blocks):
        facades = streets((100, 140, 100, 140, 60), *blocks)
        lit = lit_corners(facades, trace_profiles(facades, torch.tensor([[40.0, 40.0, 12.0]])))
        place = facades.corners.position[lit.corner.long()] - torch.tensor([100.0, 140.0])
        here = place.norm(dim=1) < 0.5
        return bool((here & (lit.place[:, 4] < 10.0)).any())  # from below 10 m on

    assert is_lit() and not is_lit((99, 99.75, 138.5, 139.75, 20))


def test_nothing_thin_is_stepped_over_on_a_long_way():
    """A block 5 m wide, 100 m behind the edge and up to 70 m before the receiver, higher than the way there."""
    facades = streets((20, 30, -23, 279, 40), (130, 135, -23, 279, 18))
    profiles = trace_profiles(facades, torch.tensor([[5.0, 128.5, 42.0]]))
    index, power = over_roof_edges(facades, profiles, ~profiles.visible & facades.free)
    gain = torch.zeros(65536).index_add(0, index, power).view(256, 256)
    assert gain[128, 32:120].min() > 0
    # over the block the way comes down 38.5 / 22 times as far from the edge, at x = 214
    assert gain[20:236, 137:204].max() == 0 and gain[128, 218:240].min() > 0


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
        return roof_edge_gain(line, roof, *at).item()

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
