"""Who answers: the methods that the tables compare, by name (`method_named`).

All of them work at one `Workbench`, which holds what several methods and the reports share (walls, condition images
and midpoints of the last scenes, the physics layer's parts of the last samples), so that nothing is computed twice.

Papers: (R) RadioDiff, (F) RadioDiff-Flux.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rdflux_ros.baselines.radiounet import RadioUNet
from rdflux_ros.data.radiomapseer import DataError, RadioMapSeer, Sample
from rdflux_ros.data.transforms import coarsened
from rdflux_ros.evaluation.inference import finished, timed
from rdflux_ros.flux.conditions import mean_heights, streets_image
from rdflux_ros.flux.loading import LoadedModel
from rdflux_ros.flux.midpoints import RegionCache
from rdflux_ros.flux.pipeline import FluxPipeline, PosePart, StreetsPart
from rdflux_ros.mapping.mapper import select_device
from rdflux_ros.propagation.config import PhysicsConfig
from rdflux_ros.propagation.facades import Facades, trace_facades
from rdflux_ros.propagation.physics_layer import PathGains, PhysicsLayer
from rdflux_ros.radio.units import grey_from_gain

T = TypeVar("T")

WINDOW = (2, 2)
"""Region numbers that a dataset's noise is anchored by: its windows have their south-west corner at (0, 0)."""
SCENES = 24
"""Scenes of which walls, images and midpoints are kept."""
SAMPLES = 8
"""Samples of which the physics layer's answer is kept."""


class Split:
    """The maps of a split, their walls as a map of one resolution shows them.

    Parameters
    ----------
    map_resolution
        Of the walls [m]; None takes the finest that the data has.
    """

    def __init__(self, dataset: RadioMapSeer, map_resolution: float | None = None) -> None:
        self._dataset, self._resolution = dataset, map_resolution
        self.names = dataset.names
        self._maps_of: dict[str, list[int]] = {}
        for index, name in enumerate(self.names):
            self._maps_of.setdefault(_scene(name), []).append(index)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Sample:
        """The sample; raises `DataError` where its files or the resolution do not fit."""
        sample = self._dataset[index]
        resolution = self._resolution or sample.resolution
        return sample if resolution == sample.resolution else coarsened(sample, resolution)

    def alone(self) -> str | None:
        """A scene with one transmitter only, if there is one."""
        return next((scene for scene, maps in self._maps_of.items() if len(maps) < 2), None)

    def scenes(self) -> int:
        """How many there are."""
        return len(self._maps_of)

    def donor(self, sample: Sample, seed: int) -> Sample:
        """Another transmitter of the sample's scene, by a draw that depends on nothing but `seed` and the sample."""
        others = [k for k in self._maps_of[sample.scene] if self.names[k] != sample.name]
        return self[_drawn(others, "donor", seed, sample.name)]

    def elsewhere(self, sample: Sample, seed: int) -> Sample:
        """A map of another scene, drawn in the same way."""
        others = [maps for scene, maps in self._maps_of.items() if scene != sample.scene]
        maps = _drawn(others, "scene", seed, sample.name)
        return self[_drawn(maps, "transmitter", seed, sample.name)]

    def scattered(self, sample: Sample, seed: int, count: int) -> list[Sample]:
        """A map of each of `count` other scenes, or of all where there are fewer, drawn in the same way."""
        others = [scene for scene in self._maps_of if scene != sample.scene]
        others.sort(key=lambda scene: _number("scattered", seed, sample.name, scene))
        return [self[_drawn(self._maps_of[scene], "transmitter", seed, sample.name)] for scene in others[:count]]

    def evenly(self, count: int, seed: int) -> list[int]:
        """Numbers of `count` maps, round after round one of every scene, in an order drawn by `seed`.

        More maps of the same seed are these and others. There are no more than the split has.
        """
        random = np.random.default_rng(seed)
        queues = [list(random.permutation(maps)) for maps in self._maps_of.values()]
        order = random.permutation(len(queues))
        rounds = (queues[k][turn] for turn in range(max(map(len, queues))) for k in order if turn < len(queues[k]))
        return [int(number) for number in islice(rounds, count)]


class Workbench:
    """The physics layer and one model over samples.

    Parameters
    ----------
    device
        ``auto``, ``cpu`` or ``cuda``.
    reflection_order
        Walls a ray may meet; None takes the physics layer's default.
    loaded, flux
        A model on that device, and the pipeline that runs it; None: the physics layer alone.
    split
        Where donors and other scenes are drawn from.
    seed
        Of these draws.
    full_steps
        Steps of the full chain; None takes the model's T.
    radiounets
        Baselines on that device, at most one of each kind of input.

    Raises
    ------
    SettingError
        CUDA is asked for and there is none.
    """

    def __init__(
        self,
        device: str = "auto",
        reflection_order: int | None = None,
        *,
        loaded: LoadedModel | None = None,
        flux: FluxPipeline | None = None,
        split: Split | None = None,
        seed: int = 0,
        full_steps: int | None = None,
        radiounets: Sequence[RadioUNet] = (),
    ) -> None:
        self.device = select_device(device)
        self.layer = PhysicsLayer(PhysicsConfig() if reflection_order is None else PhysicsConfig(reflection_order))
        self.loaded, self.split, self.seed, self.full_steps = loaded, split, seed, full_steps
        self.radiounets = {network.inputs: network for network in radiounets}
        self._flux = flux
        self._facades: RegionCache[Facades] = RegionCache(SCENES)
        self._images: RegionCache[Tensor] = RegionCache(SCENES)
        self._regions: RegionCache[StreetsPart] = RegionCache(2 * SCENES)
        self._parts: RegionCache[tuple[PathGains, float]] = RegionCache(SAMPLES)
        self._poses: RegionCache[tuple[PosePart, float]] = RegionCache(SAMPLES)
        self._own_midpoints: RegionCache[Tensor] = RegionCache(SAMPLES)

    @property
    def flux(self) -> FluxPipeline:
        """The pipeline of the model; there must be one."""
        assert self._flux is not None
        return self._flux

    def facades(self, sample: Sample) -> Facades:
        """Walls of the sample's streets, traced at the resolution of its surroundings."""

        def compute() -> Facades:
            return trace_facades(sample.surroundings_m, sample.resolution, self.device)

        return self._facades.get_or_compute(_streets_key(sample), compute)[0]

    def image(self, sample: Sample) -> Tensor:
        """Static condition image [1, 2, 256, 256] of the sample's streets."""

        def compute() -> Tensor:
            buildings = self._on_device(sample.heights_m > 0)
            return streets_image(mean_heights(self.facades(sample))[None], buildings)

        return self._images.get_or_compute(_streets_key(sample), compute)[0]

    def region(self, sample: Sample, *, aligned: bool, flux: FluxPipeline | None = None) -> StreetsPart:
        """Midpoint and static condition of the sample's streets, for either second stage.

        `flux` runs the same model at another R, in place of the bench's own.
        """
        flux = flux or self.flux

        def compute() -> StreetsPart:
            return finished(flux.streets(self.image(sample), WINDOW, aligned=aligned))

        key = f"{_streets_key(sample)} {aligned} {flux.method.reuse_ratio} {flux.method.static_steps}"
        return self._regions.get_or_compute(key, compute)[0]

    def parts(self, sample: Sample) -> PathGains:
        """The physics layer's path gains by mechanism, for a batch of this one transmitter."""
        return self._timed_parts(sample)[0]

    def visible(self, sample: Sample) -> NDArray[np.bool_]:
        """[256, 256] cells in line of sight of the transmitter."""
        return self.parts(sample).visible[0].cpu().numpy()

    def pose(self, sample: Sample) -> PosePart:
        """What the sample's transmitter adds, its height clamped to what the model was trained on."""
        return self._timed_pose(sample)[0]

    def own_midpoint(self, sample: Sample) -> Tensor:
        """The midpoint that the conditional chain makes for this transmitter [1, latents, 64, 64]."""

        def compute() -> Tensor:
            return self.flux.own_midpoint(self.image(sample), self.pose(sample), WINDOW)

        return self._own_midpoints.get_or_compute(_key(sample), compute)[0]

    def donor(self, sample: Sample) -> Sample:
        """Another transmitter of the scene, as `Split.donor` draws it."""
        assert self.split is not None
        return self.split.donor(sample, self.seed)

    def elsewhere(self, sample: Sample) -> Sample:
        """A map of another scene, as `Split.elsewhere` draws it."""
        assert self.split is not None
        return self.split.elsewhere(sample, self.seed)

    def physics_seconds(self, sample: Sample) -> float:
        """What the physics layer took for this sample [s]."""
        return self._timed_parts(sample)[1]

    def pose_seconds(self, sample: Sample) -> float:
        """What the physics layer and the dynamic condition images took for this sample [s]."""
        return self._timed_parts(self._clamped(sample))[1] + self._timed_pose(sample)[1]

    def answer(self, name: str, sample: Sample) -> tuple[NDArray[np.float32], float]:
        """A method's grey [256, 256] and what it took [s]: with what the methods share, without what reuse spares."""
        method = method_named(name)
        kept, shared = method.kept(self, sample), method.shared(self, sample)
        with torch.inference_mode():
            grey, seconds = timed(self.device, lambda: method.answer(self, sample, kept))
        return grey, seconds + shared

    def lacks(self, name: str) -> str | None:
        """Why the method cannot answer here, in words; None where it can."""
        method = method_named(name)
        if name in RADIOUNETS and RADIOUNETS[name] not in self.radiounets:
            return f"no file of a RadioUNet on inputs {RADIOUNETS[name]!r} is given"
        if not method.by_model:
            return None
        if self.loaded is None:
            return "there is no model"
        if name == "autoencoder" and self._lossless:
            return f"the latents of {self.loaded.path} lose nothing"
        if method.draws == "donor" and self.split is not None and (scene := self.split.alone()) is not None:
            return f"{scene} has one transmitter, so no donor"
        if method.draws == "scene" and self.split is not None and self.split.scenes() < 2:
            return "the split has one scene, so no other midpoint"
        if "aligned" in method.stages and name != "no_midpoint" and self._without_midpoints:
            return f"{self.loaded.path}: trained on noise in the midpoint's place"
        return self.loaded.lacks(*method.stages)

    def offered(self) -> list[str]:
        """The methods that there are for this model, whether or not its file holds all that they need."""
        absent = [name for name, inputs in RADIOUNETS.items() if inputs not in self.radiounets]
        absent += ["autoencoder"] if self._lossless else []
        return [
            name
            for name, method in METHODS.items()
            if name not in absent and (self.loaded is not None or not method.by_model)
        ]

    @property
    def _without_midpoints(self) -> bool:
        """The model is a control, whose aligned stage never saw a midpoint."""
        return self.loaded is not None and self.loaded.notes.get("aligned", {}).get("midpoint") == "noise"

    @property
    def _lossless(self) -> bool:
        return self.loaded is not None and self.loaded.model.config.autoencoder.kind == "space_to_depth"

    def _timed_parts(self, sample: Sample) -> tuple[PathGains, float]:
        def compute() -> tuple[PathGains, float]:
            facades = self.facades(sample)
            return timed(self.device, lambda: self.layer(facades, self.transmitter(sample)))

        return self._parts.get_or_compute(_key(sample), compute)[0]

    def _timed_pose(self, sample: Sample) -> tuple[PosePart, float]:
        sample = self._clamped(sample)

        def compute() -> tuple[PosePart, float]:
            gains, transmitter = self.parts(sample), self.transmitter(sample)
            free, cars = self._on_device(sample.free), self._on_device(sample.cars)
            return timed(self.device, lambda: self.flux.pose_part(gains, transmitter, free, cars))

        return self._poses.get_or_compute(_key(sample), compute)[0]

    def _clamped(self, sample: Sample) -> Sample:
        x, y, z = sample.position
        method = self.flux.method
        within = min(max(z, method.lowest_z_m), method.highest_z_m)
        return sample if within == z else replace(sample, position=np.array([x, y, within]))

    def transmitter(self, sample: Sample) -> Tensor:
        """x, y, z [1, 3] of the sample's transmitter [m]."""
        return torch.tensor(sample.position[None], dtype=torch.float32, device=self.device)

    def _on_device(self, mask: NDArray[np.bool_]) -> Tensor:
        return torch.from_numpy(mask).to(self.device)[None]


def _no_time(bench: Workbench, sample: Sample) -> float:
    return 0.0


def _nothing(bench: Workbench, sample: Sample) -> None:
    return None


@dataclass(frozen=True)
class Method:
    """A way to answer a sample whose truth it does not see; only the autoencoder's row does.

    Parameters
    ----------
    answer
        From the sample and what is kept to grey [256, 256]; cells without value may hold anything.
    kept
        What reuse spares, so that its time does not count: the region's or the donor's part.
    shared
        Seconds that other methods share and that each of them would take: physics layer, dynamic condition.
    stages
        Of the model.
    draws
        What is drawn for each sample: ``donor``, ``scene`` or nothing.
    by_model
        Whether there is anything to answer without a model.
    """

    answer: Callable[[Workbench, Sample, Any], NDArray[np.float32]]
    kept: Callable[[Workbench, Sample], Any] = _nothing
    shared: Callable[[Workbench, Sample], float] = Workbench.pose_seconds
    stages: tuple[str, ...] = ()
    draws: str = ""
    by_model: bool = True


def _autoencoder(bench: Workbench, sample: Sample, _: None) -> NDArray[np.float32]:
    """The truth, encoded and decoded: as a residual where the model's latents are of residuals."""
    pose, flux = bench.pose(sample), bench.flux
    truth = torch.from_numpy(sample.grey).to(bench.device) * pose.free
    encoded = flux.model.autoencoder.encode(truth - pose.base if flux.method.target == "residual" else truth)
    return _image(flux.decoded(encoded, pose))


def _physics(bench: Workbench, sample: Sample, _: None) -> NDArray[np.float32]:
    """The physics layer alone."""
    return grey_from_gain(bench.parts(sample).gain_db()[0].cpu().numpy())


def _full(steps: int | None) -> Callable[[Workbench, Sample, Tensor], NDArray[np.float32]]:
    """The whole conditional chain (R) in so many steps; None takes the bench's."""

    def answer(bench: Workbench, sample: Sample, image: Tensor) -> NDArray[np.float32]:
        return _image(bench.flux.full(image, bench.pose(sample), WINDOW, steps=steps or bench.full_steps))

    return answer


def _full_chain(steps: int | None) -> Method:
    return Method(_full(steps), Workbench.image, stages=("conditional",))


def _radiounet(bench: Workbench, sample: Sample, image: Tensor) -> NDArray[np.float32]:
    """The baseline as published."""
    _, greys = bench.radiounets["published"](image, None, bench.transmitter(sample), None)
    return _image(greys.clamp(0.0, 1.0)) * sample.free


def _radiounet_physics(bench: Workbench, sample: Sample, image: Tensor) -> NDArray[np.float32]:
    """The baseline on the images that our own networks see."""
    pose = bench.pose(sample)
    _, greys = bench.radiounets["physics"](image, pose.dynamics, bench.transmitter(sample), pose.base)
    return _image(greys.clamp(0.0, 1.0) * pose.free)


def _vanilla(bench: Workbench, sample: Sample, kept: tuple[Tensor, Tensor]) -> NDArray[np.float32]:
    """The chain's last steps from the midpoint that the chain made for the donor (F)."""
    midpoint, image = kept
    return _image(bench.flux.vanilla(midpoint, image, bench.pose(sample), WINDOW))


def _two_stages(aligned: bool) -> Callable[[Workbench, Sample, StreetsPart], NDArray[np.float32]]:
    """The last steps from the first stage's midpoint: by the frozen conditional stage (F), or by the aligned one."""

    def answer(bench: Workbench, sample: Sample, kept: StreetsPart) -> NDArray[np.float32]:
        return _image(bench.flux.answer(kept, bench.pose(sample), WINDOW, aligned=aligned))

    return answer


def _with_other_midpoint(bench: Workbench, sample: Sample) -> StreetsPart:
    """The sample's own streets, but the midpoint of another scene."""
    other = bench.region(bench.elsewhere(sample), aligned=True)
    return replace(bench.region(sample, aligned=True), midpoint=other.midpoint)


def _without_midpoint(bench: Workbench, sample: Sample) -> StreetsPart:
    """The noise that the first stage starts from in the midpoint's place: what a training on it is told, too."""
    return replace(bench.region(sample, aligned=True), midpoint=bench.flux.start(WINDOW))


RADIOUNETS = {"radiounet": "published", "radiounet_physics": "physics"}
"""Inputs of the baselines by name of the method."""
METHODS = {
    "autoencoder": Method(_autoencoder, shared=_no_time),
    "physics": Method(_physics, shared=Workbench.physics_seconds, by_model=False),
    "radiounet": Method(_radiounet, Workbench.image, shared=_no_time, by_model=False),
    "radiounet_physics": Method(_radiounet_physics, Workbench.image),
    "full": _full_chain(None),
    "vanilla": Method(
        _vanilla,
        lambda bench, sample: (bench.own_midpoint(bench.donor(sample)), bench.image(sample)),
        stages=("conditional",),
        draws="donor",
    ),
    "flux": Method(
        _two_stages(False),
        lambda bench, sample: bench.region(sample, aligned=False),
        stages=("static", "conditional"),
    ),
    "aligned": Method(
        _two_stages(True),
        lambda bench, sample: bench.region(sample, aligned=True),
        stages=("static", "aligned"),
    ),
    "other_midpoint": Method(_two_stages(True), _with_other_midpoint, stages=("static", "aligned"), draws="scene"),
    "no_midpoint": Method(_two_stages(True), _without_midpoint, stages=("static", "aligned")),
}
"""Beside these there is ``full_N`` for any N: the full chain in N steps."""
_CHAIN = re.compile(r"full_([1-9]\d{0,3})")


def method_named(name: str) -> Method:
    """The method of a name; `KeyError` where there is none."""
    if name in METHODS:
        return METHODS[name]
    if (steps := chain_steps(name)) is None:
        raise KeyError(name)
    return _full_chain(steps)


def chain_steps(name: str) -> int | None:
    """N of ``full_N``; None for other names."""
    found = _CHAIN.fullmatch(name)
    return None if found is None else int(found[1])


def check_names(names: Sequence[str] | None) -> None:
    """Raise `DataError` for a method that is not known; None names none."""
    unknown = [name for name in names or () if name not in METHODS and chain_steps(name) is None]
    if unknown or (names is not None and not names):
        known = ", ".join([*METHODS, "full_N (in N steps)"])
        raise DataError(f"unknown method {', '.join(unknown) or '(none)'}; known are {known}")


def needs_model(names: Sequence[str] | None) -> bool:
    """Whether any of the methods answers by a model; None names all."""
    return names is None or any(method_named(name).by_model for name in names)


def choose_methods(names: Sequence[str] | None, bench: Workbench) -> tuple[list[str], dict[str, str]]:
    """The methods that answer, and why others were left out.

    Raises
    ------
    DataError
        One of `names` is not known or cannot answer here; without names it is left out.
    """
    check_names(names)
    wanted = bench.offered() if names is None else list(names)
    reasons = {name: reason for name in wanted if (reason := bench.lacks(name)) is not None}
    if reasons and names is not None:
        raise DataError("; ".join(f"method {name}: {reason}" for name, reason in reasons.items()))
    return [name for name in wanted if name not in reasons], reasons


def _image(greys: Tensor) -> NDArray[np.float32]:
    return greys[0, 0].float().cpu().numpy()


def _scene(name: str) -> str:
    return name.rpartition("_")[0]


def _streets_key(sample: Sample) -> str:
    return f"{sample.scene} {sample.resolution}"


def _key(sample: Sample) -> str:
    return f"{sample.name} {sample.resolution} {sample.position[2]}" + " with cars" * bool(sample.cars.any())


def _drawn(choices: Sequence[T], *of: object) -> T:
    """One of the choices; the same for the same arguments, whatever was drawn before."""
    return choices[_number(*of) % len(choices)]


def _number(*of: object) -> int:
    """64 bits that look drawn; the same for the same arguments."""
    return int.from_bytes(hashlib.sha256(" ".join(map(str, of)).encode()).digest()[:8], "little")
