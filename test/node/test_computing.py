"""What the worker's thread does beside its jobs."""

from __future__ import annotations

import ctypes
import threading
import time

import pytest
import torch
from resident_memory import resident_bytes

from rdflux_ros.mapping.config import MapperConfig
from rdflux_ros.node.computing import CAPACITIES, Computing, LatestPoses
from rdflux_ros.node.parameters import NodeConfig, Settings
from rdflux_ros.node.worker import Job, Mailbox, Worker


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="glibc's allocator")
def test_freed_memory_goes_back_to_the_system_after_a_job() -> None:
    """Also what lies under a block still in use, which the allocator keeps by itself."""
    settings = Settings(NodeConfig(threads=torch.get_num_threads()), MapperConfig(model="physics", device="cpu"))
    done, mailbox = threading.Semaphore(0), Mailbox(CAPACITIES)
    computing = Computing(settings, None, mailbox, LatestPoses(), ["pose"])
    worker = Worker(computing.build, mailbox, done.release)
    worker.start()
    try:
        blocks = [b"x" * 100_000 for _ in range(1000)]
        full = resident_bytes()
        del blocks[:-1]
        assert full - resident_bytes() < 20e6  # else this tests nothing
        mailbox.put(Job("clear"))
        assert done.acquire(timeout=10.0)
        deadline = time.monotonic() + 10.0
        while full - resident_bytes() < 60e6:
            assert time.monotonic() < deadline, "the allocator keeps it"
            time.sleep(0.01)
        assert len(blocks) == 1
    finally:
        assert worker.stop(10.0)
