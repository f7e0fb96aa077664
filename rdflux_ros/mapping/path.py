"""What a radio map means for those who plan: coverage, users to serve, figures along a planned path."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rdflux_ros.mapping.config import MapperConfig
from rdflux_ros.mapping.inputs import InputError, Pose
from rdflux_ros.mapping.regions import nearest_region
from rdflux_ros.radio.radio_map import RadioMap

if TYPE_CHECKING:
    from rdflux_ros.mapping.mapper import RadioMapper


@dataclass
class AlongPath:
    """Figures of the poses of a planned path, NaN where a pose cannot be answered.

    Parameters
    ----------
    poses
        Those that were chosen of the path, N of them, as they came.
    of
        How many the path has.
    coverage
        [N] share of the free cells of its window that are covered.
    mean_pathloss_db
        [N] over those cells [dB].
    worst_user_db
        [N] largest pathloss of the users in its window [dB]; NaN without any.
    refused
        Poses that cannot be answered, by reason.
    users_outside
        Users that no answered window holds, or who stand in a building.
    """

    poses: list[Pose]
    of: int
    coverage: NDArray[np.float32]
    mean_pathloss_db: NDArray[np.float32]
    worst_user_db: NDArray[np.float32]
    refused: Counter[str] = field(default_factory=Counter)
    users_outside: int = 0


def covered(radio_map: RadioMap, config: MapperConfig) -> NDArray[np.bool_]:
    """[rows, cols] cells where tx_power_dbm - pathloss reaches sensitivity_dbm; False where there is no value."""
    with np.errstate(invalid="ignore"):
        return np.asarray(config.tx_power_dbm - radio_map.pathloss_db >= config.sensitivity_dbm)


def users_pathloss(radio_map: RadioMap, users: NDArray[np.float64]) -> NDArray[np.float32]:
    """Pathloss [dB] of users [N, 2] at x, y [m] of the map's frame; NaN outside the window and in buildings."""
    found = np.full(len(users), np.nan, np.float32)
    inside = np.flatnonzero(np.isfinite(users).all(axis=1))
    inside = inside[radio_map.grid.contains(users[inside, 0], users[inside, 1])]
    row, col = radio_map.grid.cells(users[inside, 0], users[inside, 1])
    found[inside] = radio_map.pathloss_db[row, col]
    return found


def thinned(count: int, most: int) -> list[int]:
    """At most `most` numbers of 0 .. count - 1, evenly spread, the first and the last among them."""
    if count <= most:
        return list(range(count))
    return sorted({int(k) for k in np.linspace(0, count - 1, most).round()})


def along_path(
    mapper: RadioMapper, path: Sequence[Pose | InputError], users: NDArray[np.float64]
) -> Generator[None, None, AlongPath]:
    """Answer a planned path, thinned to `path_max_poses`, as one batch.

    A generator that stops between passes and between a region's steps, so that more urgent work goes first.

    Parameters
    ----------
    path
        Its poses in the map's frame, or why one is none.
    users
        [N, 2] x, y of ground users in the map's frame [m].
    """
    chosen = [path[k] for k in thinned(len(path), mapper.config.path_max_poses)]
    placed = [pose if isinstance(pose, Pose) else Pose(np.nan, np.nan, np.nan) for pose in chosen]
    errors = [pose if isinstance(pose, InputError) else mapper.refusal(pose) for pose in chosen]
    nan = np.full(len(chosen), np.nan, np.float32)
    found = AlongPath(placed, len(path), nan.copy(), nan.copy(), nan.copy())
    found.refused.update(error.reason for error in errors if error is not None)
    served = np.zeros(len(users), bool)
    answerable = [k for k, error in enumerate(errors) if error is None]
    answerable.sort(key=lambda k: nearest_region(placed[k].x, placed[k].y))
    for start in range(0, len(answerable), mapper.polite_batch):
        part = []
        for k in answerable[start : start + mapper.polite_batch]:
            error = mapper.refusal(placed[k])  # the map may have changed meanwhile
            if error is None:
                yield from mapper.prepare_steps(placed[k])
                error = mapper.refusal(placed[k])
            if error is None:
                part.append(k)
            else:
                found.refused[error.reason] += 1
        for k in list(part):  # again: it may have changed while others were prepared
            if (error := mapper.refusal(placed[k])) is not None:
                found.refused[error.reason] += 1
                part.remove(k)
        for k, answer in zip(part, mapper.answer_batch([placed[k] for k in part]), strict=True):
            free = ~np.isnan(answer.pathloss_db)
            if free.any():
                found.coverage[k] = covered(answer, mapper.config).sum() / free.sum()
                found.mean_pathloss_db[k] = answer.pathloss_db[free].mean(dtype=np.float64)
            losses = users_pathloss(answer, users)
            here = ~np.isnan(losses)
            served |= here
            if here.any():
                found.worst_user_db[k] = losses[here].max()
        yield
    found.users_outside = int((~served).sum())
    return found
