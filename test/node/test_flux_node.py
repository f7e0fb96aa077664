"""The node with a model, on a real graph: a crossing stops no pose and makes one midpoint, a bad file is one line."""

from __future__ import annotations

from pathlib import Path

import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from ros_graph import Planner, pose, streets, values

from rdflux_ros.model import checkpoint
from rdflux_ros.model.tiny import random_model

SECOND = 1_000_000_000


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    checkpoint.save(random_model(), path)
    return path


def test_a_crossing_stops_no_pose_and_makes_one_midpoint(planner: Planner, model_file: Path) -> None:
    planner.start_mapper(model=str(model_file), static_steps=1)
    planner.ready(streets())
    places = [(130.0 + 12.0 * k, 200.0) for k in range(14)]
    planner.fly(*(pose(x, y, stamp_ns=(k + 1) * SECOND) for k, (x, y) in enumerate(places)))
    statuses = [planner.layers((k + 1) * SECOND)[2] for k in range(len(places))]
    told = [values(status) for status in statuses]
    assert told[0]["method"] == "flux" and told[0]["midpoint"] == "miss" and told[0]["reuse_ratio"] == "0.98"
    assert {"latency_ms.physics", "latency_ms.network"} <= told[0].keys()
    for status, found in zip(statuses, told, strict=True):
        if found["method"] != "flux":  # entered before its midpoint was ready
            assert (found["method"], found["fallback"]) == ("physics_fallback", "midpoint not ready")
            assert status.level == DiagnosticStatus.WARN and "reuse_ratio" not in found
    assert sum(found["method"] == "flux" for found in told) >= 10
    assert told[-1]["method"] == "flux"
    regions = {found["region"] for found in told}
    assert len(regions) >= 3
    assert int(values(planner.health())["regions_prepared"]) <= len(regions) + 1, "the one ahead may be ready too"


def test_a_model_file_that_cannot_be_used_is_named(planner: Planner, model_file: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.safetensors"
    content = bytearray(model_file.read_bytes())
    content[-1] ^= 1
    damaged.write_bytes(content)
    planner.start_mapper(model=str(damaged), autostart=False)
    planner.wait(lambda: planner.transitions.service_is_ready(), "the mapper")
    assert not planner.change_state(1)
    found = planner.health()
    assert found.level == DiagnosticStatus.ERROR
    assert str(damaged) in found.message and "damaged" in found.message and "Error" not in found.message
