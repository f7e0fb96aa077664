"""The computing parameters: the one source of their defaults, descriptions and bounds."""

from __future__ import annotations

from dataclasses import dataclass

from rdflux_ros.propagation.config import PhysicsConfig
from rdflux_ros.settings import same, setting

AUTO = "auto"
"""The word of `reuse_ratio`."""
TOUCHED = "touched"
"""A word of `occupied_cells`."""
STILL_M = 0.5
"""So near to where it was answered [m] a transmitter's answer is kept by it (`evaluate movement`)."""


@dataclass(frozen=True)
class MapperConfig:
    """Everything that shapes a `RadioMap` beside pose and map; each field holds its description and bounds."""

    model: str = setting("shipped", "model file; 'shipped': the one in models/; 'physics': the physics layer alone")
    device: str = setting(
        "auto", "where to compute; auto takes CUDA where there is one", choices=("auto", "cuda", "cpu")
    )
    reuse_ratio: float | str = setting(
        0.0,
        "share of the denoising that a region's midpoint spares (R), like 0.98; 0: the model's own; auto: all of it "
        f"while nothing has changed and the transmitter is within {STILL_M:g} m of where it was answered, else all but "
        "one step",
        minimum=0.0,
        maximum=0.99,
        words=(AUTO,),
    )
    static_steps: int = setting(
        -1,
        "steps of the first stage, once per region; -1: the model's own, 0: as many as the reuse ratio spares",
        minimum=-1,
        maximum=1000,
    )
    aligned: bool = setting(True, "second stage trained on real midpoints; false: the papers' frozen one")
    prefetch_s: float = setting(
        3.0, "how far ahead the region that a live track is about to enter is prepared [s]", minimum=0.0, maximum=60.0
    )
    similarity_threshold: float = setting(
        0.12,
        "largest distance D_env of changed streets from those that a midpoint was made for at which it is kept, and "
        "the answer marked approximate (`evaluate similarity`); 0: every change makes a new one",
        minimum=0.0,
        maximum=100.0,
    )
    stations: str = setting(
        "", "fixed base stations, 'x y z; x y z' in the map frame [m], served together with what moves; empty: none"
    )
    tx_power_dbm: float = setting(23.0, "transmit power, for coverage [dBm]", minimum=-50.0, maximum=80.0)
    sensitivity_dbm: float = setting(
        -90.0, "received power from which a cell is covered [dBm]", minimum=-150.0, maximum=50.0
    )
    uncertainty: bool = setting(
        False, "say of each cell how far off it may be: radio_map/stddev, by the laws beside the model file"
    )
    rssi_correction: bool = setting(
        False,
        "shift maps by what receivers measure (topic rssi); wants scikit-learn, `pip install rdflux_ros[correction]`",
    )
    rssi_correlation_m: float = setting(
        20.0, "distance of receivers over which shadowing falls to 1/e alike [m]", minimum=1.0, maximum=1000.0
    )
    rssi_transmitter_correlation_m: float = setting(
        50.0, "the same of the transmitter's places: a moved one forgets what was measured [m]", minimum=1.0,
        maximum=10_000.0,
    )  # fmt: skip
    rssi_shadowing_db: float = setting(
        6.0,
        "standard deviation of what the map does not know, beside the common offset [dB]",
        minimum=0.1,
        maximum=40.0,
    )
    rssi_noise_db: float = setting(
        3.0, "standard deviation of a measurement, fading included [dB]", minimum=0.1, maximum=40.0
    )
    rssi_timeout_s: float = setting(
        60.0, "measurements that were received longer ago are forgotten [s]", minimum=0.1, maximum=86400.0
    )
    rssi_max_measurements: int = setting(
        200, "measurements that are kept, the newest; the time of an answer grows with them", minimum=1, maximum=500
    )
    path_max_poses: int = setting(
        50, "poses of a planned path that are answered; a longer one is thinned evenly", minimum=1, maximum=10_000
    )
    building_height_m: float = setting(
        25.0, "height of a building whose height no height map knows [m]", minimum=2.0, maximum=500.0
    )
    fill_enclosed: bool = setting(False, "fill what no free cell reaches: maps that show walls, not roofs")
    ground_z_m: float = setting(0.0, "z of the ground in the map frame [m]", minimum=-1000.0, maximum=10000.0)
    antenna_offset_z_m: float = setting(0.0, "antenna above the pose [m]", minimum=-100.0, maximum=100.0)
    occupied_threshold: int = setting(65, "occupancy from which a cell is a building", minimum=1, maximum=100)
    occupied_cells: str = setting(
        TOUCHED,
        "what an occupied cell of a map of 0.5 or 1 m says: that a building touches it, as mapping makes it, or that "
        "its centre is built, as drawing footprints makes it; walls are drawn accordingly",
        choices=(TOUCHED, "centre"),
    )
    unknown_is: str = setting("free", "what cells are of which the map says nothing", choices=("free", "occupied"))
    map_max_cells: int = setting(
        50_000_000, "most cells of a map, as it comes and as it is kept", minimum=1, maximum=1_000_000_000
    )
    cache_size: int = setting(100, "regions whose static part is kept in memory", minimum=1, maximum=10_000)
    cache_file: str = setting("", "file that keeps static parts, so that a restart is warm; empty: none")
    cache_file_size: int = setting(1000, "regions kept in cache_file", minimum=1, maximum=1_000_000)
    reflection_order: int = same(PhysicsConfig, "reflection_order")

    @property
    def touched(self) -> bool:
        """Whether a cell of a coarse map is occupied as soon as a building touches it."""
        return self.occupied_cells == TOUCHED
