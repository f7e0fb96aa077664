"""What the node publishes while it is active."""

from __future__ import annotations

import importlib
import time
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from nav_msgs.msg import OccupancyGrid
from rclpy.node import Node
from rclpy.publisher import Publisher
from sensor_msgs.msg import Image, PointCloud2
from std_msgs.msg import Header

from rdflux_ros.mapping.path import AlongPath, covered
from rdflux_ros.node import conversions, qos
from rdflux_ros.node.parameters import Settings
from rdflux_ros.radio.radio_map import RadioMap


class Outputs:
    """The publishers; all layers of one answer carry its stamp."""

    def __init__(self, node: Node, settings: Settings) -> None:
        self._node = node
        self._radio_map = node.create_publisher(OccupancyGrid, "radio_map", qos.LATCHED)
        self._color = node.create_publisher(Image, "radio_map/color", qos.LATEST)
        self._coverage = node.create_publisher(OccupancyGrid, "radio_map/coverage", qos.LATEST)
        self._status = node.create_publisher(DiagnosticArray, "radio_map/status", qos.LATEST)
        self._query = node.create_publisher(OccupancyGrid, "radio_map/query", qos.QUERIES)
        self._along_path = node.create_publisher(PointCloud2, "radio_map/along_path", qos.LATCHED)
        self._server: Publisher[Any] | None = None
        self._stddev: Publisher[Any] | None = None
        self._grid_map_type = grid_map_type()
        self._grid_map: Publisher[Any] | None = None
        if self._grid_map_type is not None:
            self._grid_map = node.create_publisher(self._grid_map_type, "radio_map/grid_map", qos.LATCHED)
        self._pathloss: Publisher[Any] | None = None
        self.last: RadioMap | None = None
        """The newest answer that was published."""
        self.use(settings)

    def use(self, settings: Settings) -> None:
        """Follow the settings from now on; a publisher that only fell silent would leave a stale latched image."""
        self._settings = settings
        wanted = settings.node.publish_pathloss
        if wanted and self._pathloss is None:
            self._pathloss = self._node.create_publisher(Image, "radio_map/pathloss", qos.LATCHED)
        elif not wanted and self._pathloss is not None:
            self._node.destroy_publisher(self._pathloss)
            self._pathloss = None

    def close(self) -> None:
        """Take all topics away, so that no late joiner finds a latched map."""
        for publisher in list(vars(self).values()):
            if isinstance(publisher, Publisher):
                self._node.destroy_publisher(publisher)

    def publish(self, answer: RadioMap, received_at: float) -> None:
        """All layers of an answer to what was received at a steady time [s]."""
        node, mapper = self._settings.node, self._settings.mapper
        self.last = answer
        self._radio_map.publish(conversions.occupancy_message(answer))
        if self._pathloss is not None:
            self._pathloss.publish(conversions.pathloss_message(answer))
        if answer.stddev_db is not None:
            if self._stddev is None:
                self._stddev = self._node.create_publisher(Image, "radio_map/stddev", qos.LATCHED)
            self._stddev.publish(conversions.stddev_message(answer))
        elif self._stddev is not None:  # a latched layer must not outlive its parameter
            self._node.destroy_publisher(self._stddev)
            self._stddev = None
        if answer.server is not None:
            if self._server is None:
                self._server = self._node.create_publisher(OccupancyGrid, "radio_map/server", qos.LATCHED)
            self._server.publish(conversions.server_message(answer))
        elif self._server is not None:  # a latched layer must not outlive its stations
            self._node.destroy_publisher(self._server)
            self._server = None
        if node.publish_coverage and self._coverage.get_subscription_count() > 0:
            self._coverage.publish(conversions.coverage_message(answer, covered(answer, mapper)))
        if node.publish_color and self._color.get_subscription_count() > 0:
            self._color.publish(conversions.color_message(answer))
        if self._grid_map is not None and self._grid_map.get_subscription_count() > 0:
            layers = {"pathloss_db": answer.pathloss_db, "coverage": _share(answer, covered(answer, mapper))}
            self._grid_map.publish(conversions.grid_map_message(answer, layers, self._grid_map_type()))
        latency = f"{1e3 * (time.monotonic() - received_at):.3f}"
        self._status.publish(conversions.status_message(answer, **{"latency_ms.receipt_to_message": latency}))

    def publish_query(self, answer: RadioMap) -> None:
        """The map of a pose that a planner considers."""
        self._query.publish(conversions.occupancy_message(answer))

    def publish_path(self, found: AlongPath, header: Header) -> None:
        """Figures along a planned path."""
        self._along_path.publish(conversions.along_path_message(found, header))


def grid_map_type() -> Any:
    """grid_map_msgs/GridMap, None where it is not installed."""
    try:
        return importlib.import_module("grid_map_msgs.msg").GridMap
    except ImportError:
        return None


def _share(answer: RadioMap, cells: Any) -> Any:
    return np.where(np.isnan(answer.pathloss_db), np.nan, cells)
