"""What the streets alone decide of each region: made once, step by step, kept by its content."""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from rdflux_ros.code_digest import STREETS, code_digest
from rdflux_ros.flux.conditions import mean_heights, streets_image
from rdflux_ros.flux.midpoints import RegionCache
from rdflux_ros.flux.pipeline import FluxPipeline, StreetsPart
from rdflux_ros.mapping.cache_file import CacheFile
from rdflux_ros.mapping.config import MapperConfig
from rdflux_ros.mapping.inputs import InputError, StreetMap
from rdflux_ros.mapping.regions import Region, content_key, crop, footprint
from rdflux_ros.propagation.facades import Facades, trace_facades
from rdflux_ros.settings import expanded

RETRY_S = 5.0
"""A first stage that failed is tried again after so long [s]."""


@dataclass
class StaticPart:
    """What the streets alone decide of a region: walls, cells without value [256, 256], the method's part.

    The method's part is made step by step, so that poses can be answered meanwhile.
    """

    facades: Facades
    buildings: NDArray[np.bool_]
    steps: Generator[None, None, StreetsPart] | None = None
    """What is left to do for the method's part; None: nothing."""
    streets: StreetsPart | None = None
    failure: str = ""
    """Why the first stage failed, in one line; empty where it did not."""
    failed_at: float = 0.0
    """Steady time of that [s]."""

    @property
    def ready(self) -> bool:
        """Nothing is left to do."""
        return self.steps is None

    @property
    def approximate(self) -> bool:
        """The midpoint is one of similar streets."""
        return self.streets is not None and self.streets.approximate

    def advance(self) -> None:
        """Take one step; one that fails leaves the part without the method's, and says why, until it is tried again."""
        if self.steps is not None:
            steps, self.steps = self.steps, None
            try:
                next(steps)
            except StopIteration as end:
                self.streets = end.value
            except Exception as error:  # out of memory, a lost GPU: the physics layer answers meanwhile
                self.failure, self.failed_at = (
                    f"{type(error).__name__}: {' '.join(str(error).split())}",
                    time.monotonic(),
                )
            else:
                self.steps = steps


class StaticParts:
    """The static parts of a map's regions, in memory and, where the settings name one, in a file.

    Raises
    ------
    InputError
        ``cache_file``: it cannot be used; the message names it.
    SettingError
        ``cache_file``: there is no such home directory.
    """

    def __init__(self, config: MapperConfig, device: torch.device) -> None:
        self._config, self._device = config, device
        self._cache: RegionCache[StaticPart] = RegionCache(config.cache_size)
        path = expanded("cache_file", config.cache_file) if config.cache_file else None
        self._file = None if path is None else CacheFile(path, config.cache_file_size)
        self._flux: FluxPipeline | None = None
        self._shaped_by: tuple[object, ...] = ()
        self._streets: StreetMap | None = None
        self._keys: dict[Region, str] = {}
        self._before: dict[Region, str] = {}
        self.file_trouble = ""
        """Why the file is not used any more; empty where it is."""
        self.loaded = 0
        """How many parts were found in the file."""

    @property
    def prepared(self) -> int:
        """How many parts were computed."""
        return self._cache.misses - self.loaded

    def use(self, flux: FluxPipeline | None, shaped_by: tuple[object, ...], config: MapperConfig) -> None:
        """Make parts for this pipeline from now on; those shaped by something else are not looked at any more."""
        if config.similarity_threshold < self._config.similarity_threshold:
            self._cache.clear()  # what is approximate by the old one may not be by the new
        self._flux, self._shaped_by, self._config = flux, shaped_by, config
        self._keys.clear()
        self._before.clear()

    def set_streets(self, streets: StreetMap) -> None:
        """Answer on this map from now on; only regions whose content changed are made again."""
        self._streets = streets
        for region, key in self._keys.items():  # one that is not complete does not replace one that is
            part = self._cache.peek(key)
            if region not in self._before or (part is not None and part.streets is not None):
                self._before[region] = key
        self._keys.clear()

    def clear(self) -> None:
        """Forget all parts, those in the file too."""
        self._cache.clear()
        self._before.clear()
        try:
            if self._file is not None:
                self._file.clear()
        except InputError as error:
            self._without_file(error)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def get(self, region: Region) -> tuple[StaticPart, bool]:
        """The region's part, its walls at least; whether it was there."""
        key = self._keys.get(region)
        seen = None
        if key is None:  # cut and hashed once per region and map
            seen = self._seen(region)
            noisy = self._flux is not None and self._flux.method.temperature > 0
            place = (region,) if noisy else ()  # noise is anchored to the world
            shaped_by = code_digest(*STREETS), self._config.occupied_cells, *self._shaped_by
            key = self._keys[region] = content_key(*seen[:2], *shaped_by, *place)
        hit = True

        def make() -> StaticPart:
            nonlocal hit
            part = self._stored(key)
            hit = part is not None
            if part is None:
                part = self.computed(*(seen or self._seen(region)), region.window, self._similar(region))
                if part.ready:
                    self._store(key, part)
            return part

        part = self._cache.get_or_compute(key, make)[0]
        if part.failure and time.monotonic() - part.failed_at > RETRY_S:
            part.failure = ""
            part.steps = self._steps(part.facades, part.buildings, region.window, None)
        return part, hit

    def has(self, region: Region) -> bool:
        """Whether the region's part is known to be complete; computes nothing."""
        part = self._cache.peek(self._keys.get(region, ""))
        return part is not None and part.ready

    def advance(self, region: Region) -> bool:
        """One step towards the region's part: its walls, then the method's steps; False where nothing is left."""
        part, known = self.get(region)  # an unknown one has its walls traced here, which is a step
        if known and part.ready:
            return False
        if known:
            part.advance()
        if part.ready and not part.failure:
            self._store(self._keys[region], part)
        return True

    def finish(self, region: Region) -> None:
        """All steps towards the region's part."""
        while self.advance(region):
            pass

    def computed(
        self,
        heights: NDArray[np.float32],
        buildings: NDArray[np.bool_],
        resolution: float,
        window: tuple[int, int],
        similar: StreetsPart | None = None,
    ) -> StaticPart:
        """A part from what a region sees of the streets, its walls traced, the method's steps still to be taken."""
        facades = trace_facades(heights, resolution, self._device, touched=self._config.touched)
        return StaticPart(facades, buildings, self._steps(facades, buildings, window, similar))

    def _steps(
        self, facades: Facades, buildings: NDArray[np.bool_], window: tuple[int, int], similar: StreetsPart | None
    ) -> Generator[None, None, StreetsPart] | None:
        if self._flux is None:
            return None
        cells = torch.from_numpy(buildings).to(self._device)[None]
        image = streets_image(mean_heights(facades)[None], cells)
        return self._flux.streets(
            image,
            window,
            aligned=self._config.aligned,
            similar=similar,
            similarity_threshold=self._config.similarity_threshold,
        )

    def _similar(self, region: Region) -> StreetsPart | None:
        """The method's part of the region's streets as they were before the map changed."""
        if self._config.similarity_threshold == 0.0:
            return None
        before = self._cache.peek(self._before.get(region, ""))
        return None if before is None else before.streets

    def _stored(self, key: str) -> StaticPart | None:
        try:
            found = None if self._file is None else self._file.get(key)
        except InputError as error:
            self._without_file(error)
            return None
        if found is None:
            return None
        self.loaded += 1
        facades, buildings, streets = found
        return StaticPart(
            facades.to(self._device), buildings, None, None if streets is None else streets.to(self._device)
        )

    def _store(self, key: str, part: StaticPart) -> None:
        if self._file is None or part.approximate:
            return
        try:
            if key not in self._file:
                self._file.put(key, part.facades, part.buildings, part.streets)
        except InputError as error:
            self._without_file(error)

    def _without_file(self, error: InputError) -> None:
        """The file cannot be used any more (a full disk, a lock): go on in memory."""
        self.close()
        self._file, self.file_trouble = None, str(error)

    def _seen(self, region: Region) -> tuple[NDArray[np.float32], NDArray[np.bool_], float]:
        """What the region sees of the streets: heights [m] and their resolution [m], cells without value."""
        streets, config = self._streets, self._config
        if streets is None:
            raise InputError("no_map", "no map yet")
        return crop(streets, region, config), footprint(streets, region, config), streets.grid.resolution
