"""Radio maps that fly with the drone: RadioDiff-Flux as a ROS 2 package."""

__version__ = "0.1.0"
