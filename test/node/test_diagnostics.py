"""What the node does for its own health."""

from __future__ import annotations

import ctypes
import time

import pytest
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from resident_memory import resident_bytes
from ros_graph import Planner

from rdflux_ros.node.radio_mapper import RadioMapperNode


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="glibc's allocator")
def test_freed_memory_goes_back_to_the_system(planner: Planner) -> None:
    """Also what lies under a block still in use, which the allocator keeps by itself."""
    mapper = RadioMapperNode(context=planner.context, parameter_overrides=[Parameter("autostart", value=False)])
    executor = SingleThreadedExecutor(context=planner.context)
    executor.add_node(mapper)
    try:
        blocks = [b"x" * 100_000 for _ in range(1000)]
        full = resident_bytes()
        del blocks[:-1]
        assert full - resident_bytes() < 20e6  # else this tests nothing
        deadline = time.monotonic() + 10.0
        while full - resident_bytes() < 60e6:
            assert time.monotonic() < deadline, "the allocator keeps it"
            executor.spin_once(timeout_sec=0.1)
        assert len(blocks) == 1
    finally:
        executor.shutdown()
        mapper.destroy_node()
