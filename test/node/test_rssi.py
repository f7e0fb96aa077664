"""Measured RSSI on a real graph: it shifts what is answered, is told in the status, and counts what it cannot use."""

from __future__ import annotations

import numpy as np
from ros_graph import Planner, pose, streets, values
from sensor_msgs.msg import PointCloud2

from rdflux_ros.node import conversions, qos
from rdflux_ros.node.fuzzing.clouds import cloud

SECOND = 1_000_000_000
TX_POWER_DBM = 23.0
AT = (130.0, 160.0)
"""Where the receiver stands."""


def measured(
    pathloss_db: float, *, x: float = AT[0], y: float = AT[1], frame: str = "map", second: int = 1
) -> PointCloud2:
    message = cloud({"x": [x], "y": [y], "z": [1.5], "rssi_dbm": [TX_POWER_DBM - pathloss_db]})
    message.header.frame_id = frame
    message.header.stamp = conversions.stamp_from_ns(second * SECOND)
    return message


def at_the_receiver(planner: Planner, second: int) -> tuple[float, dict[str, str]]:
    """Pathloss there, and the status, of the map of a stamp."""
    radio_map, image, status = planner.layers(second * SECOND)
    _, grid = conversions.grid_from_message(radio_map)
    row, col = grid.cells(*AT)
    return float(conversions.pathloss_from_message(image)[row, col]), values(status)


def test_it_shifts_the_map_and_says_so(planner: Planner) -> None:
    planner.start_mapper(rssi_correction=True)
    rssi = planner.node.create_publisher(PointCloud2, "rssi", qos.QUERIES)
    planner.ready(streets())
    planner.wait(rssi.get_subscription_count, "the mapper to listen to rssi")
    rssi.publish(measured(90.0))
    planner.wait_for_count("rssi_measurements_refused.no_answer")
    planner.fly(pose(130.0, 120.0, stamp_ns=1 * SECOND))
    said, status = at_the_receiver(planner, 1)
    assert "rssi_measurements" not in status

    rssi.publish(measured(said + 10.0, second=5))  # a hovering transmitter is answered again
    now, status = at_the_receiver(planner, 5)
    assert said + 6.0 < now < said + 10.1 and status["rssi_measurements"] == "1"

    rssi.publish(measured(90.0, frame="elsewhere"))
    planner.wait_for_count("rssi_dropped.frame_not_connected")
    broken = measured(90.0)
    broken.data = broken.data[:-1]
    rssi.publish(broken)
    planner.wait_for_count("rssi_dropped.rssi_malformed")
    rssi.publish(measured(90.0, x=110.0, y=75.0))  # in the building
    planner.wait_for_count("rssi_measurements_refused.no_value")

    assert planner.set_parameters(rssi_correction=False).successful
    planner.fly(pose(130.0, 120.0, stamp_ns=6 * SECOND))
    again, status = at_the_receiver(planner, 6)
    assert np.isclose(again, said) and "rssi_measurements" not in status
