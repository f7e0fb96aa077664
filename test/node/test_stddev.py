"""`radio_map/stddev` on a real graph: there while it is asked for, of the very answer, gone when it is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ros_graph import Planner, pose, streets
from sensor_msgs.msg import Image

from rdflux_ros.mapping.uncertainty import SHAPE, SUFFIX, ErrorLaw, ErrorLaws
from rdflux_ros.model import checkpoint
from rdflux_ros.model.tiny import model_file
from rdflux_ros.node import conversions, qos

SECOND = 1_000_000_000


def test_it_comes_with_the_other_layers_while_it_is_asked_for(planner: Planner, tmp_path: Path) -> None:
    model = model_file(tmp_path / "tiny.safetensors")
    planner.start_mapper(model=str(model), static_steps=1)
    planner.listen("radio_map/stddev", Image, qos.LATCHED)
    planner.ready(streets())
    refused = planner.set_parameters(uncertainty=True)
    assert not refused.successful and f"tiny{SUFFIX}: no such file" in refused.reason
    planner.fly(pose(130.0, 120.0, stamp_ns=SECOND))

    laws = [
        ErrorLaw(method, 1.0, np.full(SHAPE, 3.5, np.float32), (0.5, 1.0, 1.6, 2.0)) for method in ("flux", "physics")
    ]
    ErrorLaws(laws).write(model.with_suffix(SUFFIX), checkpoint.read(model).digest, {})
    assert planner.set_parameters(uncertainty=True).successful
    planner.fly(pose(130.0, 120.0, stamp_ns=2 * SECOND))
    _, pathloss, _ = planner.layers(2 * SECOND)
    stddev = planner.wait(lambda: planner.answer(2 * SECOND, "radio_map/stddev"), "the layer")
    assert stddev.header == pathloss.header and (stddev.height, stddev.width) == (pathloss.height, pathloss.width)
    found, losses = (conversions.pathloss_from_message(message) for message in (stddev, pathloss))
    assert np.array_equal(np.isnan(found), np.isnan(losses)) and np.isnan(found).any()
    assert (found[~np.isnan(found)] == 3.5).all()

    assert planner.set_parameters(uncertainty=False).successful
    planner.fly(pose(130.0, 120.0, stamp_ns=3 * SECOND))
    planner.wait(lambda: not planner.node.count_publishers("radio_map/stddev"), "the latched layer to go")
    assert len(planner.heard["radio_map/stddev"]) == 1
