"""First-order diffraction into the shadow: over every roof edge and round every corner that both ends see.

Each detour touches one straight edge: source T, edge point Q, receiver R. By Fermat's principle Q is where the edge,
unfolded, is crossed by a straight line (Keller's cone): between perpendicular distances D_T and D_R and the way a
along the edge the detour is sqrt((D_T + D_R)^2 + a^2) long.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from rdflux_ros.propagation.edges import REACH, Corners, RoofEdges
from rdflux_ros.propagation.facades import Facades
from rdflux_ros.propagation.materials import amplitude_p, amplitude_s
from rdflux_ros.propagation.profiles import Profiles
from rdflux_ros.propagation.raster import clear_of_edges
from rdflux_ros.propagation.wedge import wedge_terms
from rdflux_ros.radio.grid import WINDOW_M
from rdflux_ros.radio.units import FREE_SPACE, RECEIVER_HEIGHT

SIGHT_SAMPLES = 24
"""Points between edge and receiver that must be free, closest to one another where the line between is lowest."""
LONG_WAY, LONG_WAY_SAMPLES = 24.0, 64
"""On longer ways [m] so many more must be free, or buildings a few metres wide would often be stepped over."""
SIGHT_TOLERANCE = 0.3
"""What may stand into the way from the edge to the receiver [m]: the raster's doubt."""
LIT_TOLERANCE = 0.1
"""What may stand into the way from the transmitter to a roof edge [m]."""
PAST_THE_END = 0.5
"""Roof edges reach this far past their ends [m], where they meet the next one."""
CLOSE_BY, CLOSE_SAMPLES = 3.0, 12
"""So near before a corner [m] the fan cannot tell the corner's building from others; so many points are looked at."""
OWN_WALL = 0.5
"""So near to its wall [m], a way from a roof edge is not hidden by the wall."""
FULL_TURN = 2 * math.pi
ROOF_EXTERIOR = 1.5
"""Roof edges are right angles: n = 3/2."""
PATHS_AT_A_TIME, CELLS_AT_A_TIME = 65536, 8192
"""On a CPU: what a step makes of so many, its next finds in the cache."""


def diffraction(facades: Facades, profiles: Profiles) -> Tensor:
    """Path gain [B, 65536] of all first-order diffracted paths into shadowed free cells, powers added."""
    shadow = ~profiles.visible & facades.free
    gain = torch.zeros_like(profiles.distance).view(-1)
    for mechanism in (over_roof_edges, round_corners):
        index, power = mechanism(facades, profiles, shadow)
        gain.index_add_(0, index, power)
    return gain.view(shadow.shape)


def over_roof_edges(facades: Facades, profiles: Profiles, shadow: Tensor) -> tuple[Tensor, Tensor]:
    """Over every upper edge of a wall that transmitter and receiver both see: of what hides one, or stands opposite.

    Returns flat indices into [B, 65536], some of them many times, and the path gain of each path.
    """
    edges = facades.roof_edges
    places = [_on_edges(edges, *member) for member in zip(profiles.transmitters, shadow, strict=True)]
    edge, along = (torch.cat([place[part] for place in places]) for part in (0, 2))
    index = torch.cat([cell + batch * WINDOW_M**2 for batch, (_, cell, _) in enumerate(places)])
    parts = _in_parts(len(edge), CELLS_AT_A_TIME, edge.device)
    found = [_over_roof_edges(facades, profiles, edge[part], index[part], along[part]) for part in parts]
    index, power = (torch.cat(column) for column in zip(*found, strict=True))
    return index, power


def _on_edges(edges: RoofEdges, transmitter: Tensor, shadow: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(edge, cell, place along the edge) where the detour to a shadowed cell touches an edge between its ends."""
    tx, ty, tz = transmitter
    nx, ny, offset = edges.line.T
    out_t, up_t = nx * tx + ny * ty - offset, tz - edges.roof
    along_t = nx * ty - ny * tx
    d_t = torch.hypot(out_t, up_t).clamp_min(0.1)
    lit = (out_t > 0) | (up_t > 0)  # from before the wall, or from above
    low, high = edges.ends[:, 0] - PAST_THE_END, torch.where(lit, edges.ends[:, 1] + PAST_THE_END, -math.inf)
    place = torch.stack([nx, ny, offset, low, high, (RECEIVER_HEIGHT - edges.roof) ** 2, d_t, along_t], 1)
    found = []
    for part in _in_parts(len(edges.seen), PATHS_AT_A_TIME, edges.seen.device):
        dark = shadow.index_select(0, edges.seen[part]).nonzero()[:, 0] + part.start
        cell = edges.seen.index_select(0, dark)
        edge = torch.bucketize(dark, edges.first, right=True, out_int32=True) - 1
        nx, ny, offset, low, high, down_2, d_t, along_t = place.index_select(0, edge).unbind(1)
        x, y = (cell % WINDOW_M) + 0.5, (cell // WINDOW_M) + 0.5
        out_r = nx * x + ny * y - offset
        at = edge_point(d_t, along_t, torch.sqrt(out_r * out_r + down_2), nx * y - ny * x)
        found.append(_those((at > low) & (at < high) & (out_r > 0), edge, cell.long(), at))
    edge, cell, along = (torch.cat(column) for column in zip(*found, strict=True))
    return edge, cell, along


def _over_roof_edges(
    facades: Facades, profiles: Profiles, edge: Tensor, index: Tensor, along: Tensor
) -> tuple[Tensor, Tensor]:
    """Which of some cells [P] a way reaches over places along edges that the transmitter sees, and its path gain."""
    line, roof = facades.roof_edges.line[edge], facades.roof_edges.roof[edge]
    qx, qy = line[:, 0] * line[:, 2] - line[:, 1] * along, line[:, 1] * line[:, 2] + line[:, 0] * along
    batch, cell = index // WINDOW_M**2, index % WINDOW_M**2
    tx, ty, tz = profiles.transmitters[batch].unbind(1)
    far = torch.hypot(qx - tx, qy - ty)
    aside = clear_of_edges(facades.resolution)
    dx, dy = qx + aside * line[:, 0] - tx, qy + aside * line[:, 1] - ty
    lit = tz + profiles.horizon_towards(batch, dx, dy, far - 2 * aside) * far <= roof + LIT_TOLERANCE
    line, roof, qx, qy, tx, ty, tz, cell, index = _those(lit, line, roof, qx, qy, tx, ty, tz, cell, index)
    x, y = (cell % WINDOW_M) + 0.5, (cell // WINDOW_M) + 0.5
    own_wall = OWN_WALL / (line[:, 0] * x + line[:, 1] * y - line[:, 2]).clamp_min(0.01)
    seen = _in_sight(facades, (qx, qy, roof), (x, y), own_wall)
    line, roof, tx, ty, tz, x, y, index = _those(seen, line, roof, tx, ty, tz, x, y, index)
    return index, roof_edge_gain(line, roof, (tx, ty, tz), (x, y))


def _those(wanted: Tensor, *values: Tensor) -> tuple[Tensor, ...]:
    """The rows of each that are `wanted` [P]."""
    rows = wanted.nonzero()[:, 0]
    return tuple(value.index_select(0, rows) for value in values)


def _in_parts(count: int, size: int, device: torch.device) -> Iterator[slice]:
    """At least one: slices of `size` on a CPU; all in one on a GPU, which wants long vectors and not a cache."""
    size = size if device.type == "cpu" else max(count, 1)
    return (slice(start, start + size) for start in range(0, max(count, 1), size))


def roof_edge_gain(
    line: Tensor, roof: Tensor, transmitter: tuple[Tensor, Tensor, Tensor], receiver: tuple[Tensor, Tensor]
) -> Tensor:
    """Path gain over one roof edge.

    Parameters
    ----------
    line
        [P, 3] outward normal and offset of the wall below the edge.
    roof
        [P] its height [m].
    transmitter, receiver
        Coordinates [P] [m]; the receiver stands at `RECEIVER_HEIGHT`.
    """
    nx, ny, offset = line.unbind(1)
    (tx, ty, tz), (x, y) = transmitter, receiver
    out_t, out_r = nx * tx + ny * ty - offset, nx * x + ny * y - offset
    up_t, up_r = tz - roof, RECEIVER_HEIGHT - roof
    along_t = nx * ty - ny * tx
    along = nx * y - ny * x - along_t
    d_t = torch.hypot(out_t, up_t).clamp_min(0.1)
    d_r = torch.hypot(out_r, up_r).clamp_min(0.1)
    length = torch.hypot(d_t + d_r, along)
    sin_edge = (d_t + d_r) / length
    s_t, s_r = d_t / sin_edge, d_r / sin_edge
    # angles from the roof, up and over the edge; the wall is the 0-face where the transmitter sees it better
    angle_t, angle_r = _turn(up_t, -out_t), _turn(up_r, -out_r)
    exterior = ROOF_EXTERIOR * math.pi
    from_wall = 2 * angle_t > exterior
    incidence = torch.where(from_wall, exterior - angle_t, angle_t)
    departure = torch.where(from_wall, exterior - angle_r, angle_r)
    outside = (incidence > 0) & (incidence < exterior) & (departure > -1e-3) & (departure < exterior)
    incidence, departure = incidence.clamp(1e-3, exterior - 1e-3), departure.clamp(1e-3, exterior - 1e-3)
    cos_roof, cos_wall = up_t.abs() / d_t * sin_edge, out_t.abs() / d_t * sin_edge
    cos_0, cos_n = torch.where(from_wall, cos_wall, cos_roof), torch.where(from_wall, cos_roof, cos_wall)
    span = s_t * s_r / length * sin_edge * sin_edge
    terms = wedge_terms(ROOF_EXTERIOR, incidence, departure, span, sin_edge)
    soft = terms.gain(amplitude_s(cos_0), amplitude_s(cos_n))
    hard = terms.gain(amplitude_p(cos_0), amplitude_p(cos_n))
    # share of the vertically polarised field that lies along the edge
    rise, run = (up_t / d_t * sin_edge) ** 2, (along / length) ** 2
    share_soft = (rise * run / ((1 - rise) * (1 - run)).clamp_min(1e-6)).clamp(0, 1)
    power = (hard + share_soft * (soft - hard)) * FREE_SPACE / (s_t * s_r * length)
    return torch.where(outside, power, 0.0)


def edge_point(d_t: Tensor, along_t: Tensor, d_r: Tensor, along_r: Tensor) -> Tensor:
    """Where along an edge the unfolded straight line crosses it; both ends by distance from it and place along it."""
    return along_t + (along_r - along_t) * d_t / (d_t + d_r)


def round_corners(facades: Facades, profiles: Profiles, shadow: Tensor) -> tuple[Tensor, Tensor]:
    """Round every vertical edge that transmitter and receiver both see, lit side or not.

    Returns flat indices into [B, 65536], some of them many times, and the path gain of each path.
    """
    lit = lit_corners(facades, profiles)
    pair, cell, doubtful = _pairs(facades.corners, lit)
    parts = _in_parts(len(pair), PATHS_AT_A_TIME, pair.device)
    found = [_round_corners(facades, lit, pair[part], cell[part], doubtful[part], shadow.view(-1)) for part in parts]
    index, power = zip(*found, strict=True)
    return torch.cat(index), torch.cat(power)


def _round_corners(
    facades: Facades, lit: LitCorners, pair: Tensor, cell: Tensor, doubtful: Tensor, shadow: Tensor
) -> tuple[Tensor, Tensor]:
    """Indices into `shadow` [B * 65536] and path gains of the paths of some pairs that end there."""
    index = (lit.batch * WINDOW_M**2).index_select(0, pair) + cell
    dark = shadow.index_select(0, index)
    pair, cell, doubtful, index = _those(dark, pair, cell, doubtful, index)
    x, y, z, d_t, lowest, highest = lit.place.index_select(0, pair).unbind(1)
    ex, ey = (cell % WINDOW_M) + 0.5 - x, (cell // WINDOW_M) + 0.5 - y
    d_r = torch.hypot(ex, ey).clamp_min(0.3)
    # where the unfolded line meets the edge
    slope = (RECEIVER_HEIGHT - z) / (d_t + d_r)
    height = z + slope * d_t
    on_edge = (height > lowest) & (height < highest)
    looked_at = (on_edge & doubtful).nonzero()[:, 0]
    qx, qy, qz, way_x, way_y = (v.index_select(0, looked_at) for v in (x, y, height, ex, ey))
    on_edge[looked_at] = _in_sight(facades, (qx, qy, qz), (qx + way_x, qy + way_y), torch.zeros_like(qz))
    pair, index, ex, ey, d_t, d_r, slope = _those(on_edge, pair, index, ex, ey, d_t, d_r, slope)
    face_x, face_y, incidence, exterior, cos_0, cos_n, side = lit.wedge.index_select(0, pair).unbind(1)
    departure = _turn(ex * face_x + ey * face_y, side * (ey * face_x - ex * face_y))
    outside = (incidence < exterior * math.pi) & (departure < exterior * math.pi + 0.05)
    departure = torch.minimum(departure, exterior * math.pi - 1e-3)
    sin_edge = torch.rsqrt(1 + slope * slope)
    s_t, s_r = d_t / sin_edge, d_r / sin_edge
    span = s_t * s_r / (s_t + s_r) * sin_edge * sin_edge
    r_0, r_n = amplitude_s(cos_0 * sin_edge), amplitude_s(cos_n * sin_edge)
    spread = FREE_SPACE / (s_t * s_r * (s_t + s_r))
    power = wedge_terms(exterior, incidence, departure, span, sin_edge).gain(r_0, r_n) * spread
    return index, torch.where(outside, power, 0.0)


@dataclass(frozen=True)
class LitCorners:
    """Corners that a transmitter sees, V pairs of the two.

    Parameters
    ----------
    batch, corner
        [V] int32 indices.
    place
        [V, 6] x, y of the edge, z of the transmitter, their plan distance, lowest and highest lit point [m].
    wedge
        [V, 7] normal x, y of the 0-face (the one that the transmitter sees best), angle of incidence from it [rad],
        exterior angle [pi], plan-view cosines of incidence on 0-face and n-face, and +1 or -1: whether the 0-face
        runs away from the edge to the left or to the right of its normal.
    """

    batch: Tensor
    corner: Tensor
    place: Tensor
    wedge: Tensor


def lit_corners(facades: Facades, profiles: Profiles) -> LitCorners:
    """The corners that each transmitter sees something of."""
    corners = facades.corners
    tx, ty, tz = profiles.transmitters.T[:, :, None]
    dx, dy = corners.position[:, 0] - tx, corners.position[:, 1] - ty
    far = torch.hypot(dx, dy)
    outward = torch.nn.functional.normalize(corners.face_0 + corners.face_n, dim=1)
    aside = clear_of_edges(facades.resolution)
    every = torch.arange(len(tx), device=tx.device)[:, None]
    before_x, before_y = aside * outward[:, 0], aside * outward[:, 1]
    horizon = profiles.horizon_towards(every, dx + before_x, dy + before_y, far - 2 * aside)
    horizon = torch.maximum(horizon, _close_by(facades, profiles.transmitters, dx + before_x, dy + before_y))
    lowest = torch.maximum(tz + horizon * far, corners.base)
    batch, corner = ((lowest < corners.roof) & (far > 1.0)).nonzero(as_tuple=True)
    dx, dy, far, lowest = (v[batch, corner] for v in (dx, dy, far, lowest))
    place = torch.stack([*corners.position[corner].unbind(1), tz[batch, 0], far, lowest, corners.roof[corner]], 1)
    way = torch.stack([dx, dy], 1) / far[:, None]
    face_0, face_n = corners.face_0[corner], corners.face_n[corner]
    cos_0, cos_n = (face_0 * way).sum(1), (face_n * way).sum(1)
    swap = cos_n < cos_0
    face_0, face_n = torch.where(swap[:, None], face_n, face_0), torch.where(swap[:, None], face_0, face_n)
    cos_0, cos_n = torch.where(swap, cos_n, cos_0), torch.where(swap, cos_0, cos_n)
    nx, ny = face_0.unbind(1)
    side = -torch.sign(nx * face_n[:, 1] - ny * face_n[:, 0])
    incidence = _turn(-cos_0, -side * (way[:, 1] * nx - way[:, 0] * ny))
    exterior = (FULL_TURN - corners.interior_angle[corner]) / math.pi
    wedge = torch.stack([nx, ny, incidence, exterior, cos_0.abs(), cos_n.abs(), side], 1)
    return LitCorners(batch.int(), corner.int(), place, wedge)


def _close_by(facades: Facades, transmitters: Tensor, dx: Tensor, dy: Tensor) -> Tensor:
    """Largest slope [B, C] of what stands close before points at plan offsets [B, C] [m] of the transmitters."""
    tx, ty, tz = transmitters.T[:, :, None, None]
    far = torch.hypot(dx, dy).clamp_min(0.1)[..., None]
    share = 1 - torch.linspace(CLOSE_BY / CLOSE_SAMPLES, CLOSE_BY, CLOSE_SAMPLES, device=far.device) / far
    height = facades.height_at(tx + dx[..., None] * share, ty + dy[..., None] * share)
    return torch.where((height > 0) & (share > 0), (height - tz) / (far * share), -math.inf).amax(2)


def _pairs(corners: Corners, lit: LitCorners) -> tuple[Tensor, Tensor, Tensor]:
    """All pairs of a lit corner and a cell that may see it where the detour can pass between the edge's ends.

    Indices of the pair [N], of its cell [N], and `Corners.doubtful` [N].

    The unfolded line sinks from z to the receiver, so it passes the edge at height h where
    d_R = d_T (h - 1.5) / (z - h): above the lowest lit point from one distance on, below the roof up to another.
    """
    _, _, z, d_t, lowest, highest = lit.place.unbind(1)

    def distance(height: Tensor) -> Tensor:
        reached = d_t * (height - RECEIVER_HEIGHT) / (z - height).clamp_min(1e-3)
        return torch.where(z > height, reached, REACH).clamp(0, REACH)

    rows = corners.within[lit.corner]
    start = rows.gather(1, distance(lowest).long()[:, None])[:, 0]
    end = rows.gather(1, distance(highest).ceil().long()[:, None])[:, 0]
    counts = (end - start).clamp_min(0)
    ends = counts.cumsum(0)
    pair = torch.repeat_interleave(counts)
    offset = (start - (ends - counts)).int()
    place = torch.arange(len(pair), device=pair.device, dtype=torch.int32) + offset.index_select(0, pair)
    return pair, corners.seen.index_select(0, place), corners.doubtful.index_select(0, place)


def _turn(opposite: Tensor, adjacent: Tensor) -> Tensor:
    """Angle in [0, 2 pi)."""
    angle = torch.atan2(opposite, adjacent)
    return torch.where(angle < 0, angle + FULL_TURN, angle)


def _in_sight(
    facades: Facades, edge: tuple[Tensor, Tensor, Tensor], receiver: tuple[Tensor, Tensor], own_wall: Tensor
) -> Tensor:
    """Whether nothing stands between edge points (x, y, z) and receivers (x, y), all [P].

    Along the share `own_wall` of the way, from the edge on, what stands there is the edge's own wall.
    """
    plan = torch.hypot(edge[0] - receiver[0], edge[1] - receiver[1]).clamp_min(0.1)
    ways = torch.stack([*edge, *receiver, plan, own_wall])
    clear = _is_clear(facades, ways, SIGHT_SAMPLES)
    long = (clear & (plan > LONG_WAY)).nonzero()[:, 0]
    clear[long] = _is_clear(facades, ways.index_select(1, long), LONG_WAY_SAMPLES)
    return clear


def _is_clear(facades: Facades, ways: Tensor, samples: int) -> Tensor:
    """`_in_sight` by so many points of ways [7, P]: edge point, receiver, plan length, share of the own wall."""
    qx, qy, z, x, y, plan, own_wall = ways
    steps = 1 - torch.linspace(1, 0, samples, device=x.device)[:, None] ** 2
    first = torch.maximum(1.0 / plan, own_wall).clamp_max(1.0)
    share = (first + (1.0 - 0.7 / plan - first).clamp_min(0.0) * steps).clamp_max(0.99)
    height = facades.height_at(qx + (x - qx) * share, qy + (y - qy) * share)
    sight_line = z + (RECEIVER_HEIGHT - z) * share
    return (height <= (sight_line + SIGHT_TOLERANCE)).logical_or_(height == 0).all(0)
