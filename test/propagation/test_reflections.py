import math

import numpy as np
import pytest
import torch
from streets import decibels, streets
from torch.nn.functional import avg_pool2d

from rdflux_ros.propagation.facades import trace_facades
from rdflux_ros.propagation.materials import ground_share, wall_share
from rdflux_ros.propagation.profiles import trace_profiles
from rdflux_ros.propagation.raster import receivers
from rdflux_ros.propagation.reflections import direct_ground_bounce, reflections
from rdflux_ros.radio.units import RECEIVER_HEIGHT, WAVELENGTH

TRANSMITTER = torch.tensor([[100.0, 128.0, 10.0]])


def image_gain(x: torch.Tensor, y: torch.Tensor, image_x: float, walls: int, receiver: float) -> torch.Tensor:
    """Friis over the unfolded distance from an image at (image_x, 128) times what `walls` walls x = const. reflect."""
    z = TRANSMITTER[0, 2]
    plan = torch.hypot(x - image_x, y - 128.0)
    slope = (receiver - z) / plan
    gain = (WAVELENGTH / (4 * math.pi)) ** 2 / (plan**2 + (receiver - z) ** 2)
    share = wall_share((x - image_x).abs() / plan, slope) ** walls
    return gain * share * (ground_share(slope) if receiver < 0 else 1.0)


def mean_db(gain: torch.Tensor) -> torch.Tensor:
    """Means of gains [65536] over 3 x 3 cells [dB], as the layer gives them: how many rays hit one cell is chance."""
    return decibels(avg_pool2d(gain.view(1, 256, 256), 3, 1, 1)).view(-1)


def test_one_wall_and_the_ground_against_the_image_method():
    """Walls 25 m high, so that the ray off the wall reaches every receiver in front of it."""
    facades = streets((150, 160, -20, 276, 25))
    profiles = trace_profiles(facades, TRANSMITTER)
    direct, alone = reflections(facades, profiles, order=1)
    _, bounced = reflections(facades, profiles, order=2)
    x, y = receivers()
    front = x < 149
    hit = front & (direct[0] > 0)
    # the mirrored antenna stands at x = 200; the wall ends 20 m beyond the window, so the whole front is lit
    assert hit.sum() > 0.97 * front.sum()
    expected = image_gain(x, y, 200.0, 1, RECEIVER_HEIGHT)
    inner = (x > 1) & (x < 148) & (y > 1) & (y < 255)
    difference = (mean_db(direct[0]) - mean_db(expected))[inner].abs()
    assert difference.median() < 0.1 and difference.quantile(0.99) < 0.5
    off_the_ground = image_gain(x, y, 100.0, 0, -RECEIVER_HEIGHT) + image_gain(x, y, 200.0, 1, -RECEIVER_HEIGHT)
    difference = (mean_db(bounced[0]) - mean_db(off_the_ground))[inner].abs()
    assert difference.median() < 0.02
    assert direct[0][x > 161].max() == 0  # nothing behind the wall
    torch.testing.assert_close(alone, direct_ground_bounce(facades, profiles))  # wall and ground are two


def test_a_reflection_crosses_the_whole_window():
    facades = streets((0, 8, -20, 276, 25))
    profiles = trace_profiles(facades, torch.tensor([[20.0, 128.0, 10.0]]))
    direct, _ = reflections(facades, profiles, order=1)
    assert (direct[0].view(256, 256)[120:136, 20:] > 0).all()


def test_a_beam_brings_what_its_width_covers():
    """Off a wall 2 m wide, seen from 50 m before it: as wide as the wall at the wall, twice as wide 50 m before it."""
    facades = streets((150, 160, 127, 129, 25))
    profiles = trace_profiles(facades, TRANSMITTER)
    direct = reflections(facades, profiles, order=1)[0].view(256, 256)
    x, y = (v.view(256, 256) for v in receivers())
    expected = image_gain(x, y, 200.0, 1, RECEIVER_HEIGHT)
    for rows, cols in ((slice(118, 138), slice(125, 145)), (slice(108, 148), slice(60, 100))):
        width = (direct[rows, cols] / expected[rows, cols]).sum(0)
        straight = 2.0 * (200.0 - x[0, cols]) / 50.0
        assert ((width / straight - 0.9).abs() < 0.1).all()  # what hits the very ends of the wall is lost


def test_two_facing_walls_against_the_images_of_images():
    facades = streets((150, 160, -20, 276, 25), (40, 60, -20, 276, 25))
    profiles = trace_profiles(facades, TRANSMITTER)
    x, y = receivers()
    street = (x > 62) & (x < 148) & ((y - 128).abs() < 60)
    for order in (1, 2, 3):
        direct, _ = reflections(facades, profiles, order=order)
        # mirrors at 150 and 60: images at 200, 20; 200 -> -80, 20 -> 280; -80 -> 380, 280 -> -160
        images = [(200.0, 1), (20.0, 1), (-80.0, 2), (280.0, 2), (380.0, 3), (-160.0, 3)][: 2 * order]
        expected = sum(image_gain(x, y, at, walls, RECEIVER_HEIGHT) for at, walls in images)
        difference = (mean_db(direct[0]) - mean_db(expected))[street]
        assert difference.abs().median() < 0.15
        assert difference.mean().abs() < 0.05


@pytest.mark.parametrize("degrees", [7, 12.6, 23])
def test_a_ray_that_grazes_a_turned_wall_is_reflected_all_the_same(degrees):
    """Five degrees to the wall, a raster's steps of 0.25 m are metres along the ray."""
    angle = math.radians(degrees)
    along, across = turned(*raster_places(), angle)
    facades = trace_facades(
        np.where((abs(along) < 130) & (across > 0) & (across < 12), 60.0, 0.0).astype(np.float32), 0.25
    )
    # 110 m down the wall and 6 m before it, in coordinates along and across
    transmitter = 128 - 110 * math.cos(angle) + 6 * math.sin(angle), 128 - 110 * math.sin(angle) - 6 * math.cos(angle)
    profiles = trace_profiles(facades, torch.tensor([[*transmitter, 10.0]]))
    direct, _ = reflections(facades, profiles, order=1)
    along, across = (torch.from_numpy(v) for v in turned(*(v.numpy() for v in receivers()), angle))
    grazed = facades.free & (across < -1) & (across > -9) & (along > -20) & (along < 100)
    plan = torch.hypot(along + 110, across - 6)  # from the image
    gain = (WAVELENGTH / (4 * math.pi)) ** 2 / (plan**2 + (10 - RECEIVER_HEIGHT) ** 2)
    gain = gain * wall_share((6 - across) / plan, (RECEIVER_HEIGHT - 10) / plan)
    inner = grazed & (across < -2) & (across > -8)
    difference = (mean_db(direct[0]) - mean_db(gain.float()))[inner]
    assert (direct[0][grazed] > 0).float().mean() > 0.99
    assert difference.abs().median() < 0.3 and difference.abs().quantile(0.95) < 1.0


def test_a_ray_that_leaves_a_wall_at_a_small_angle_does_not_pass_through_a_thin_wing():
    """A wing of 2.5 m on a long wall: nothing reflected reaches the ground behind it, close to the wall."""
    facades = streets((-23, 279, 140, 160, 40), (150, 152.5, 120, 140, 40))
    profiles = trace_profiles(facades, torch.tensor([[60.0, 132.0, 10.0]]))
    direct = reflections(facades, profiles, order=1)[0].view(256, 256)
    assert direct[122:139, 154:200].max() == 0 and direct[122:139, 100:148].min() > 0


def raster_places() -> tuple[np.ndarray, np.ndarray]:
    y, x = np.indices((1216, 1216)) * 0.25 - 24 + 0.125
    return x, y


def turned(x: np.ndarray, y: np.ndarray, angle: float) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates along and across a line through the window's centre."""
    x, y = x - 128, y - 128
    return x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)


@pytest.mark.parametrize(("height", "reaches"), [(12.0, False), (25.0, True)])
def test_a_wall_lower_than_the_ray_does_not_reflect(height, reaches):
    """From z = 40 down to receivers 60 m in front the ray meets the wall 40 m away at 24.6 m."""
    facades = streets((140, 150, -20, 276, height))
    profiles = trace_profiles(facades, torch.tensor([[100.0, 128.0, 40.0]]))
    direct, _ = reflections(facades, profiles, order=1)
    row = direct[0].view(256, 256)[128]
    assert (row[78:81].max() > 0) == reaches
    assert row[135] > 0  # right at its foot even the low wall reflects


def test_the_ground_alone_against_the_image_method():
    facades = streets()
    profiles = trace_profiles(facades, TRANSMITTER)
    x, y = receivers()
    torch.testing.assert_close(
        direct_ground_bounce(facades, profiles)[0], image_gain(x, y, 100.0, 0, -RECEIVER_HEIGHT), rtol=1e-3, atol=0
    )


def test_a_building_hides_the_bounce_behind_it():
    facades = streets((120, 130, 100, 156, 20))
    bounce = direct_ground_bounce(facades, trace_profiles(facades, TRANSMITTER))[0].view(256, 256)
    assert bounce[128, 131:160].max() == 0 and bounce[128, 40:99].min() > 0
