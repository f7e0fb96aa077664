"""Radio maps that fly with the drone: RadioDiff-Flux as a ROS 2 package."""

import os

__version__ = "0.1.0"

# OpenMP threads that spin at barriers need all cores to themselves: beside one busy process every answer would take
# seconds. torch reads this when it is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
