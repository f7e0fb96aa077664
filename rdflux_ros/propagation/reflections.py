"""Specular reflections: a fan of plan-view rays, each carrying an interval of slopes.

Walls are vertical, so a reflected ray stays one straight line in the unfolded vertical plane: a receiver at unfolded
plan length R is reached with slope (1.5 - z) / R, mirrored in the ground with slope (-1.5 - z) / R. A branch carries
the slopes that have cleared what stood before and that the walls it left were high enough to reflect.

A ray stands for the wedge between its neighbours: what it brings to a cell is the path gain by the share of the cell
that the wedge covers there. So beams narrower than a cell, or past its middle, count as they do in the cell's mean.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import pad

from rdflux_ros.propagation.facades import Facades
from rdflux_ros.propagation.materials import ground_share, wall_share
from rdflux_ros.propagation.profiles import Profiles
from rdflux_ros.propagation.raster import LOWEST_BUILDING
from rdflux_ros.radio.grid import MARGIN_M, WINDOW_M
from rdflux_ros.radio.units import FREE_SPACE, RECEIVER_HEIGHT

DIRECTIONS = 3072
STEP = 0.5
"""Distance between samples of a branch [m]."""
REACH = (WINDOW_M + 2 * MARGIN_M) * math.sqrt(2)
"""How far a branch may run before it leaves the raster [m]."""
STRIDES = (48, 48, 96, 96, 192, 192, 384)
"""Samples taken at a time, to `REACH` and more; branches that can give no more are dropped between."""
LEAVING = 2
"""At least so many raster cells at a reflected branch's start may lie in the raster's idea of the wall it leaves."""
FARTHEST_MISS = 4.0
"""One cell across a wall may be so much along a ray that meets or leaves it at a small angle [m]."""
GRAZING = 1e-3
"""Rays at a smaller sine to a wall do not meet it."""
PAST_THE_END = 0.75
"""Walls reflect so far past their ends [m], where the raster may have drawn them."""


@dataclass(frozen=True)
class Branches:
    """N rays: all [N] but `origin` [N, 2], `direction` [N, 2] and `cosines` [N, walls so far]."""

    batch: Tensor
    """Index of the transmitter."""
    origin: Tensor
    """Where the branch starts in the window [m]."""
    direction: Tensor
    """Plan-view unit vector."""
    length: Tensor
    """Unfolded plan length from the transmitter to `origin` [m]."""
    z: Tensor
    """Height of the transmitter [m]."""
    lowest: Tensor
    """Slope that clears everything met so far."""
    lowest_bounced: Tensor
    """The same off the ground: mirrored in it, a wall reflects down to minus its top."""
    highest: Tensor
    """Slope that the lowest of the walls still reflects."""
    cosines: Tensor
    """|cos| of the plan-view angle of incidence on each wall."""
    wall: Tensor
    """Index of the wall that it leaves; none yet: -1."""

    def __getitem__(self, chosen: Tensor) -> Branches:
        return Branches(*(getattr(self, name)[chosen] for name in self.__dataclass_fields__))

    def __len__(self) -> int:
        return len(self.batch)


def reflections(facades: Facades, profiles: Profiles, order: int) -> tuple[Tensor, Tensor]:
    """Path gain [B, 65536] by up to `order` walls, and with the ground in place of one of them (or by it alone)."""
    transmitters = profiles.transmitters
    direct = torch.zeros_like(profiles.distance)
    bounced = direct_ground_bounce(facades, profiles)
    if not order or not len(facades.lines):
        return direct, bounced
    branches = _fan(transmitters)
    for met in range(order + 1):
        if not len(branches):
            break
        branches = _march(facades, branches, direct.view(-1), bounced.view(-1), last=met == order)
    return direct, bounced


def direct_ground_bounce(facades: Facades, profiles: Profiles) -> Tensor:
    """Path gain [B, 65536] off the ground alone: the receiver mirrored to -1.5 m."""
    z = profiles.transmitters[:, 2:]
    slope = (-RECEIVER_HEIGHT - z) / profiles.distance
    distance2 = profiles.distance**2 + (z + RECEIVER_HEIGHT) ** 2
    reached = facades.free & (profiles.before <= slope)
    return torch.where(reached, FREE_SPACE / distance2 * ground_share(slope), 0.0)


def _fan(transmitters: Tensor) -> Branches:
    device, count = transmitters.device, len(transmitters)
    angle = (torch.arange(DIRECTIONS, device=device) + 0.5) * (2 * math.pi / DIRECTIONS)
    batch = torch.arange(count, device=device).repeat_interleave(DIRECTIONS)
    direction = torch.stack([angle.cos(), angle.sin()], 1).repeat(count, 1)
    nothing = torch.zeros_like(direction[:, 0])
    origin, z = transmitters[batch, :2], transmitters[batch, 2]
    low, high = nothing - math.inf, nothing + math.inf
    return Branches(batch, origin, direction, nothing, z, low, low, high, direction[:, :0], torch.full_like(batch, -1))


def _march(facades: Facades, branches: Branches, by_wall: Tensor, by_ground: Tensor, last: bool) -> Branches:
    """Deposit what the branches bring to the cells along them; return the branches that the walls they meet start."""
    device = by_wall.device
    started: list[Branches] = []
    first_fan = branches.cosines.shape[1] == 0
    height_before = torch.zeros_like(branches.z)
    done = 0
    for stride in STRIDES:
        t = (torch.arange(done, done + stride, device=device) + 0.5) * STEP
        x = branches.origin[:, :1] + branches.direction[:, :1] * t
        y = branches.origin[:, 1:] + branches.direction[:, 1:] * t
        height = facades.height_at(x, y)
        if not first_fan and done == 0:
            near = slice(math.ceil(FARTHEST_MISS / STEP))
            left = facades.wall_at(x[:, near], y[:, near]) == branches.wall[:, None]
            left &= t[near] <= facades.resolution / branches.cosines[:, -1:]
            height[:, near] *= ~(left | (t[near] <= LEAVING * facades.resolution))
        unfolded = branches.length[:, None] + t
        z = branches.z[:, None]
        top = (height - z) / unfolded
        running = torch.where(height > 0, top, -math.inf).cummax(1).values
        hidden = pad(running[:, :-1], (1, 0), value=-math.inf)
        before = torch.maximum(hidden, branches.lowest[:, None])
        before_bounced = torch.maximum(hidden, branches.lowest_bounced[:, None])
        if not first_fan:
            inside = (height == 0) & (x > 0) & (x < WINDOW_M) & (y > 0) & (y < WINDOW_M)
            _deposit(branches, inside, before, unfolded, x, y, by_wall, RECEIVER_HEIGHT)
            if not last:  # the ground would be one more
                _deposit(branches, inside, before_bounced, unfolded, x, y, by_ground, -RECEIVER_HEIGHT)
        if not last:
            lower_roof = torch.cat([height_before[:, None], height[:, :-1]], 1)
            low = torch.maximum(before, (lower_roof - z) / unfolded)
            bottom = torch.where(lower_roof > 0, lower_roof, -height)
            low_bounced = torch.maximum(before_bounced, (bottom - z) / unfolded)
            high = torch.minimum(branches.highest[:, None], top)
            steepest = (-RECEIVER_HEIGHT - z) / unfolded
            flattest = (RECEIVER_HEIGHT - z) / (unfolded + REACH)
            wall = (height - lower_roof > LOWEST_BUILDING) & (low_bounced < torch.minimum(high, flattest))
            wall &= high > steepest
            if first_fan and done == 0:
                wall[:, 0] = False
            started.append(_reflected(facades, branches, wall, (low, low_bounced, high), x, y, t))
        done += stride
        if done * STEP >= REACH:
            break
        # alive: still on the raster, able to clear what it met, and not yet all in the ground
        ex, ey, end, z_ = x[:, -1], y[:, -1], unfolded[:, -1], branches.z
        met = torch.maximum(running[:, -1], branches.lowest_bounced)
        alive = (ex > -MARGIN_M) & (ex < WINDOW_M + MARGIN_M) & (ey > -MARGIN_M) & (ey < WINDOW_M + MARGIN_M)
        alive &= met < torch.minimum(branches.highest, (RECEIVER_HEIGHT - z_) / (end + REACH))
        alive &= (-RECEIVER_HEIGHT - z_) / end <= branches.highest
        chosen = alive.nonzero()[:, 0]
        if not len(chosen):
            break
        lowest = torch.maximum(running[:, -1], branches.lowest)
        branches = replace(branches, lowest=lowest, lowest_bounced=met)[chosen]
        height_before = height[chosen, -1]
    if not started:
        return branches[branches.batch < 0]
    return Branches(*(torch.cat([getattr(b, name) for b in started]) for name in Branches.__dataclass_fields__))


def _deposit(
    branches: Branches,
    inside: Tensor,
    before: Tensor,
    unfolded: Tensor,
    x: Tensor,
    y: Tensor,
    gain: Tensor,
    receiver: float,
) -> None:
    """Add what each ray brings to each cell; a receiver below ground is one mirrored in it."""
    slope = (receiver - branches.z[:, None]) / unfolded
    hit = (inside & (before <= slope) & (slope <= branches.highest[:, None])).view(-1).nonzero()[:, 0]
    ray = hit // slope.shape[1]
    slope, length, x, y = (v.reshape(-1).index_select(0, hit) for v in (slope, unfolded, x, y))
    wedge = (2 * math.pi / DIRECTIONS * STEP) * length  # of a cell of 1 m
    power = wedge * FREE_SPACE / (length * length * (1 + slope * slope))
    if receiver < 0:
        power = power * ground_share(slope)
    for cosine in branches.cosines.unbind(1):
        power = power * wall_share(cosine.index_select(0, ray), slope)
    cell = (branches.batch * WINDOW_M**2).index_select(0, ray) + (y.int() * WINDOW_M + x.int())
    gain.index_add_(0, cell, power)


def _reflected(
    facades: Facades,
    branches: Branches,
    meets: Tensor,
    slopes: tuple[Tensor, Tensor, Tensor],
    x: Tensor,
    y: Tensor,
    t: Tensor,
) -> Branches:
    """Branches mirrored at the exact crossing with the wall nearest to each marked sample or to the one before it.

    `slopes` are the lowest, the lowest off the ground and the highest that the wall reflects.
    """
    lowest, lowest_bounced, highest = slopes
    ray, sample = meets.nonzero(as_tuple=True)
    direction, origin, at = branches.direction[ray], branches.origin[ray], t[sample]
    wall, crossing, met = _wall_met(facades, origin, direction, at, at)
    # at a corner the wall nearest to the first sample within may be one that the ray sees from behind
    wall_before, crossing_before, met_before = _wall_met(facades, origin, direction, at, at - STEP)
    wall, crossing = torch.where(met, wall, wall_before), torch.where(met, crossing, crossing_before)
    met |= met_before
    ray, sample, wall, crossing, direction, origin = (v[met] for v in (ray, sample, wall, crossing, direction, origin))
    normal = facades.lines[wall][:, :2]
    towards = (direction * normal).sum(1)
    return Branches(
        batch=branches.batch[ray],
        origin=origin + direction * crossing[:, None],
        direction=direction - 2 * towards[:, None] * normal,
        length=branches.length[ray] + crossing,
        z=branches.z[ray],
        lowest=lowest[ray, sample],
        lowest_bounced=lowest_bounced[ray, sample],
        highest=highest[ray, sample],
        cosines=torch.cat([branches.cosines[ray], towards.abs()[:, None]], 1),
        wall=wall,
    )


def _wall_met(
    facades: Facades, origin: Tensor, direction: Tensor, at: Tensor, place: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The wall nearest to rays [P] at distance `place`, the distance of its crossing, and whether it is met.

    From distance `at` on a ray is in a building's raster cells. These disagree with the line, so the crossing is the
    farther from there the smaller the angle between ray and wall.
    """
    x, y = (origin + direction * place[:, None]).unbind(1)
    wall = facades.wall_at(x, y)
    line, ends = facades.lines[wall], facades.walls[wall]
    normal, offset = line[:, :2], line[:, 2]
    towards = (direction * normal).sum(1)
    crossing = (offset - (origin * normal).sum(1)) / towards.clamp_max(-GRAZING)
    miss = (crossing - at).abs()

    def along(point: Tensor) -> Tensor:
        return normal[:, 0] * point[:, 1] - normal[:, 1] * point[:, 0]

    reach = torch.stack([along(ends[:, :2]), along(ends[:, 2:])])
    crossed = along(origin + direction * crossing[:, None])
    past = torch.maximum(reach.amin(0) - crossed, crossed - reach.amax(0))
    on_wall = (past < PAST_THE_END) & (miss < STEP + (-facades.resolution / towards).clamp_max(FARTHEST_MISS))
    return wall, crossing, on_wall & (towards < -GRAZING) & (crossing > 0.1)
