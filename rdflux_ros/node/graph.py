"""What the demo and the benchmarks share: a graph of their own, with the real mapper on it in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rclpy.node import Node

STOP_S = 5.0
"""How long the mapper may take to end [s]."""


class GraphError(RuntimeError):
    """The mapper does not do its part; the message is one line."""


@contextmanager
def own_graph() -> Iterator[str]:
    """Keep the graph to this machine and, as far as domains go round, to this process and its children.

    ``RDFLUX_DOMAIN_ID`` in the environment names a domain that is known to be free.

    Gives a namespace that is nobody else's even where another process took the same domain.
    """
    with tempfile.TemporaryDirectory(prefix="rdflux_") as logs:
        os.environ["ROS_DOMAIN_ID"] = os.environ.get("RDFLUX_DOMAIN_ID") or str(1 + os.getpid() % 100)
        os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
        os.environ["ROS_LOG_DIR"] = logs
        yield f"/rdflux_{os.getpid()}"


@contextmanager
def ros_node(name: str, namespace: str = "/") -> Iterator[Node]:
    """A node that spins in a thread of its own."""
    import rclpy
    from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
    from rclpy.signals import SignalHandlerOptions

    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node(name, namespace=namespace)
    executor = SingleThreadedExecutor()
    executor.add_node(node)

    def spin() -> None:
        with suppress(ExternalShutdownException):
            executor.spin()

    thread = threading.Thread(target=spin, name=name, daemon=True)
    thread.start()
    try:
        yield node
    finally:
        rclpy.try_shutdown()
        thread.join(2.0)


def mapper_process(
    parameters: Mapping[str, object], log: Path, namespace: str = "/"
) -> AbstractContextManager[subprocess.Popen[bytes]]:
    """The real mapper in a process of its own, as `node_process`."""
    return node_process("mapper_node", parameters, log, namespace)


@contextmanager
def node_process(
    module: str, parameters: Mapping[str, object], log: Path, namespace: str = "/"
) -> Iterator[subprocess.Popen[bytes]]:
    """A node of ours in a process of its own, ended as Ctrl-C does; what it says goes to `log`."""
    command = [sys.executable, "-m", f"rdflux_ros.node.{module}", "--ros-args", "-r", f"__ns:={namespace}"]
    for name, value in parameters.items():
        command += ["-p", f"{name}:={value}"]
    with log.open("wb") as output:
        with _signals_later() as raise_them:
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        try:
            raise_them()
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def check_alive(process: subprocess.Popen[bytes], log: Path, name: str = "mapper") -> None:
    """Raise `GraphError` with its last words where the process has ended."""
    if process.poll() is not None:
        lines = log.read_text(errors="replace").strip().splitlines()
        raise GraphError(f"the {name} died (exit code {process.returncode}): {lines[-1] if lines else 'silently'}")


@contextmanager
def _signals_later() -> Iterator[Callable[[], None]]:
    """Keep SIGINT and SIGTERM out of a block that must not end half-way; the function raises what came meanwhile."""
    came: list[int] = []
    handlers = {n: signal.signal(n, lambda number, _: came.append(number)) for n in (signal.SIGINT, signal.SIGTERM)}

    def raise_them() -> None:
        for number in came[:1]:
            signal.raise_signal(number)

    try:
        yield raise_them
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
