import math

import numpy as np
import pytest
import torch
from streets import raster, streets

from rdflux_ros.propagation.edges import REACH
from rdflux_ros.propagation.facades import trace_facades
from rdflux_ros.propagation.raster import receivers


def test_a_block_has_four_exact_walls_and_four_corners():
    facades = streets((40, 70, 100, 120, 12))
    assert len(facades.walls) == 4
    offsets = {tuple(round(v) for v in line) for line in facades.lines.tolist()}
    assert offsets == {(1, 0, 70), (-1, 0, -40), (0, 1, 120), (0, -1, -100)}
    torch.testing.assert_close(facades.lines, facades.lines.round(), atol=0.01, rtol=0)
    corners = facades.corners
    found = {tuple(round(v) for v in position) for position in corners.position.tolist()}
    assert found == {(40, 100), (70, 100), (40, 120), (70, 120)}
    torch.testing.assert_close(corners.interior_angle, torch.full((4,), math.pi / 2), atol=0.01, rtol=0)
    assert corners.roof.tolist() == pytest.approx([12] * 4) and corners.base.tolist() == [0] * 4


@pytest.mark.parametrize(
    ("resolution", "touched"), [(0.25, True), (0.5, True), (0.5, False), (1.0, True), (1.0, False)]
)
@pytest.mark.parametrize("degrees", [10, 20, 33, 45, 71])
def test_turned_walls_are_exact_lines(degrees, resolution, touched):
    """The outline may break a wall once where its tracing starts; the long pieces lie where the walls are."""
    seen = 0.25 if touched else resolution
    cells = round(304 / seen)
    y, x = np.indices((cells, cells)) * seen - 24 + seen / 2
    angle = math.radians(degrees)
    along, across = (x - 128) * math.cos(angle) + (y - 128) * math.sin(angle), (y - 128) * math.cos(angle)
    across -= (x - 128) * math.sin(angle)
    heights = np.where((abs(along) < 40) & (abs(across) < 15), 20.0, 0.0).astype(np.float32)
    if touched:
        side, factor = round(304 / resolution), round(resolution / seen)
        heights = heights.reshape(side, factor, side, factor).max((1, 3))
    facades = trace_facades(heights, resolution, touched=touched)
    assert facades.resolution == 0.25
    length = (facades.walls[:, 2:] - facades.walls[:, :2]).norm(dim=1)
    assert 4 <= len(length) <= (6 if resolution == 0.25 else 8) and length.sum().item() == pytest.approx(220, abs=8)
    lines = facades.lines[length > 20]
    assert len(lines) == 4
    normals = torch.rad2deg(torch.atan2(lines[:, 1], lines[:, 0])) - degrees
    assert (((normals + 45) % 90) - 45).abs().max() < 1.2 * resolution
    centre = lines[:, :2] @ torch.tensor([128.0, 128.0])
    assert sorted((lines[:, 2] - centre).tolist()) == pytest.approx([15, 15, 40, 40], abs=0.45 * resolution)
    corners = torch.tensor([(40, 15), (-40, 15), (-40, -15), (40, -15)]).float()
    turned = torch.stack(
        [
            128 + corners[:, 0] * math.cos(angle) - corners[:, 1] * math.sin(angle),
            128 + corners[:, 0] * math.sin(angle) + corners[:, 1] * math.cos(angle),
        ],
        1,
    )
    found = facades.corners.position
    tolerance = 0.2 if resolution == 0.25 else 2.4 * resolution
    assert torch.cdist(turned, found).amin(1).max() < tolerance, "none is lost where the tracing cuts it"
    assert torch.cdist(turned, found).amin(0).max() < tolerance, "none is found elsewhere"
    assert len(found) == 4 or (resolution > 0.25 and len(found) <= 6), "of coarse cells, some are found twice"


@pytest.mark.parametrize("resolution", [0.25, 1.0])
@pytest.mark.parametrize("degrees", [0, 30])
def test_a_pitched_roof_has_its_buildings_walls(degrees, resolution):
    """20 by 12 m, eaves at 5 m, ridge at 10 m, as a height map of measured surfaces shows it."""
    cells = round(304 / resolution)
    y, x = np.indices((cells, cells)) * resolution - 24 + resolution / 2
    angle = math.radians(degrees)
    along = (x - 128) * math.cos(angle) + (y - 128) * math.sin(angle)
    across = (y - 128) * math.cos(angle) - (x - 128) * math.sin(angle)
    roof = np.where((abs(along) < 10) & (abs(across) < 6), 10 - abs(across) * 5 / 6, 0.0).astype(np.float32)
    facades = trace_facades(roof, resolution)
    length = (facades.walls[:, 2:] - facades.walls[:, :2]).norm(dim=1)
    assert 4 <= len(length) <= 6 and length.sum().item() == pytest.approx(64, abs=6)
    assert len(facades.corners.roof) == 4 and facades.corners.roof.max() < 10
    assert len(facades.roof_edges.roof) >= 4


def test_roofs_side_by_side_at_two_heights_are_two():
    facades = streets((40, 60, 100, 120, 12), (60, 80, 100, 120, 20))
    assert len(facades.walls) == 8


def test_more_walls_than_can_be_numbered_lose_the_shortest(monkeypatch):
    monkeypatch.setattr("rdflux_ros.propagation.facades.MOST_WALLS", 4)
    facades = streets((40, 45, 40, 45, 12), (100, 150, 100, 140, 12))
    assert len(facades.walls) == len(facades.lines) == 4
    assert (facades.walls[:, 2:] - facades.walls[:, :2]).norm(dim=1).min() > 35


def test_heights_that_cannot_be_are_clipped():
    facades = streets((40, 60, 40, 60, 400), (100, 120, 100, 120, -400), resolution=1.0)
    assert facades.height_at(torch.tensor([50.0]), torch.tensor([50.0])).item() == pytest.approx(327.0)
    assert facades.height_at(torch.tensor([110.0]), torch.tensor([110.0])).item() == 0.0


def test_the_inner_corner_of_an_l_is_none_and_a_party_wall_only_above_the_lower_roof():
    bent = streets((40, 80, 100, 120, 12), (40, 60, 120, 160, 12))
    assert len(bent.corners.roof) == 5
    stepped = streets((40, 60, 100, 120, 12), (60, 80, 100, 120, 20))
    free = {
        (round(x), round(b))
        for (x, _), b in zip(stepped.corners.position.tolist(), stepped.corners.base.tolist(), strict=True)
    }
    assert (60, 12) in free and (80, 0) in free and (40, 0) in free


def test_what_a_corner_sees():
    facades = streets((40, 70, 100, 120, 12), (90, 95, 60, 160, 12))
    x, y = receivers()
    corner = int((facades.corners.position - torch.tensor([70.0, 120.0])).norm(dim=1).argmin())
    within = facades.corners.within[corner]
    seen = facades.corners.seen[within[0] : within[REACH]].long()
    distance = torch.hypot(x[seen] - 70, y[seen] - 120)
    assert (distance.floor().diff() >= 0).all()  # nearest first, by whole metres
    near = facades.corners.seen[within[0] : within[10]].long()
    assert torch.hypot(x[near] - 70, y[near] - 120).max() < 10
    sees = torch.zeros(65536, dtype=torch.bool)
    sees[seen] = True

    def cell(at_x: float, at_y: float) -> bool:
        return bool(sees[int(at_y) * 256 + int(at_x)])

    assert cell(80, 120) and cell(60, 140) and cell(85, 60)
    assert not cell(100, 120)  # behind the second block
    assert not cell(50, 90)  # round its own block
    assert not cell(92, 100)  # within a building


def test_a_corner_beyond_the_window_sees_no_further_than_any_other():
    facades = streets((100, 130, 262, 276, 12), (-20, 276, 200, 220, 12))
    corner = int((facades.corners.position - torch.tensor([100.0, 262.0])).norm(dim=1).argmin())
    assert facades.corners.position[corner, 1].item() == pytest.approx(262, abs=0.1)
    within = facades.corners.within[corner]
    part = slice(within[0], within[REACH])
    seen = facades.corners.seen[part][~facades.corners.doubtful[part]].long()
    _, y = receivers()
    assert y[seen].max() > 255 and 220 <= y[seen].min() < 225  # from the window's border to the block before it


def test_roof_edges_and_what_may_see_them():
    """A wall's edge is seen from before the wall, past what has less than half its height but not past more."""
    facades = streets((100, 120, 60, 200, 20), (130, 135, 60, 120, 6), (130, 135, 140, 200, 15))
    edges = facades.roof_edges
    high = edges.roof > 19
    assert high.sum() == 4 and (edges.ends[:, 1] - edges.ends[:, 0])[high].sum().item() == pytest.approx(320, abs=4)
    east = int((high & (edges.line[:, 0] > 0.99)).nonzero()[0, 0])
    assert edges.line[east].tolist() == pytest.approx([1, 0, 120], abs=0.05)
    sees = torch.zeros(65536, dtype=torch.bool)
    sees[edges.seen[edges.first[east] : edges.first[east + 1]].long()] = True
    sees = sees.view(256, 256)
    assert sees[60:200, 121:129].all() and sees[90, 150]
    assert not sees[170, 137] and not sees[:, :119].any()


def test_empty_streets_have_neither_walls_nor_edges():
    facades = streets(resolution=1.0)
    assert len(facades.walls) == len(facades.corners.roof) == len(facades.roof_edges.roof) == 0 and facades.free.all()


def test_a_raster_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"\(1216, 1216\) at 0.25 m"):
        trace_facades(raster(resolution=1.0), 0.25)
