"""What every executable does with an input that does not fit: one clear line and exit code 2."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

EXTRAS = {
    "aiohttp": "view",
    "rclpy": "kilted",
    "sklearn": "correction",
    **dict.fromkeys(("PIL", "matplotlib", "rosbags", "skimage", "tqdm"), "evaluation"),
}
"""Which of the package's extras brings a module."""
USER_ERROR = 2
INTERRUPTED = 130


def guarded(name: str, command: Callable[[], int], interrupted: str = "") -> int:
    """Run a command; an input that does not fit is one line on stderr and exit code 2.

    Such are the package's own errors, `OSError` and libraries that are not installed; any other exception is a fault
    of the program. `interrupted` is what Ctrl-C says.
    """
    try:
        return command()
    except ModuleNotFoundError as error:
        module = (error.name or "").split(".")[0]
        if module in ("", "rdflux_ros"):
            raise
        wanted = f"'rdflux_ros[{EXTRAS[module]}]'" if module in EXTRAS else "it"
        print(f"{name}: {error}; pip install {wanted}", file=sys.stderr)
        return USER_ERROR
    except (ValueError, ImportError, OSError) as error:
        if not isinstance(error, OSError) and not type(error).__module__.startswith("rdflux_ros."):
            raise
        print(f"{name}: {' '.join(str(error).split())}", file=sys.stderr)
        return USER_ERROR
    except KeyboardInterrupt:
        if interrupted:
            print(f"{name}: {interrupted}", file=sys.stderr)
        return INTERRUPTED


def natural(text: str) -> int:
    """A whole number from 0, as argparse takes types."""
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError("must not be negative")
    return number


def positive(text: str) -> int:
    """A whole number from 1, as argparse takes types."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be positive")
    return number
