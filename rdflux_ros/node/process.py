"""The process around a node: its arguments, its refusals, and how it spins until a signal ends it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

from rdflux_ros.node.signals import StopRequest


def asks_for_help(arguments: Sequence[str]) -> bool:
    """Whether --help is among what comes before --ros-args."""
    own = arguments[: arguments.index("--ros-args")] if "--ros-args" in arguments else arguments
    return "-h" in own or "--help" in own


def spin(name: str, build: Callable[[], Any], arguments: Sequence[str], stop: StopRequest) -> int:
    """Spin the node that `build` makes until a signal or the context's end: 0; where an argument was refused: 2.

    The node has ``nudge()``, which lets a waiting executor return and may be called from any thread, and ``close()``.
    """
    import rclpy
    from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
    from rclpy.signals import SignalHandlerOptions
    from rclpy.utilities import remove_ros_args

    from rdflux_ros.settings import SettingError

    node = None
    try:
        rclpy.init(args=[name, *arguments], signal_handler_options=SignalHandlerOptions.NO)
        if unknown := remove_ros_args([name, *arguments])[1:]:
            raise SettingError(f"unknown arguments {' '.join(unknown)}; all but --help follow --ros-args")
        node = build()
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        stop.orderly(node.nudge)
        while rclpy.ok() and not stop:
            executor.spin_once()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except (SettingError, RuntimeError) as error:  # rcl raises RuntimeErrors for arguments and files it cannot read
        if node is not None:
            raise
        print(f"{name}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    finally:
        stop.heed()
        if node is not None:
            node.close()
            node.destroy_node()
        rclpy.try_shutdown()
    return 0
