"""The computing parameters: the one source of their defaults, descriptions and bounds."""

from __future__ import annotations

from dataclasses import dataclass

from rdflux_ros.settings import setting


@dataclass(frozen=True)
class MapperConfig:
    """Everything that shapes a `RadioMap` beside pose and map; each field holds its description and bounds."""

    model: str = setting("", "model file; empty: the physics layer answers")
    device: str = setting(
        "auto", "where to compute; auto takes CUDA where there is one", choices=("auto", "cuda", "cpu")
    )
    building_height_m: float = setting(
        25.0, "height of a building whose height no height map knows [m]", minimum=2.0, maximum=500.0
    )
    fill_enclosed: bool = setting(False, "fill what no free cell reaches: maps that show walls, not roofs")
    ground_z_m: float = setting(0.0, "z of the ground in the map frame [m]", minimum=-1000.0, maximum=10000.0)
    antenna_offset_z_m: float = setting(0.0, "antenna above the pose [m]", minimum=-100.0, maximum=100.0)
    occupied_threshold: int = setting(65, "occupancy from which a cell is a building", minimum=1, maximum=100)
    unknown_is: str = setting("free", "what cells are of which the map says nothing", choices=("free", "occupied"))
    map_max_cells: int = setting(
        50_000_000, "most cells of a map, as it comes and as it is kept", minimum=1, maximum=1_000_000_000
    )
    cache_size: int = setting(100, "regions whose static part is kept", minimum=1, maximum=10_000)
    reflection_order: int = setting(4, "walls a reflected ray may meet", minimum=0, maximum=6)
