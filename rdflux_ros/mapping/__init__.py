"""Pose and occupancy grid in, `RadioMap` out; no ROS.

`config`, `inputs` and `regions` import no torch, so that command lines can use them at no cost; `mapper` does.
"""
