"""All properties; `make test` tries a few hundred examples of each, `benchmark --fuzz` as many as it is told."""

from rdflux_ros.node.fuzzing import answers, map_files, maps, parameters, poses

PROPERTIES = (
    *poses.PROPERTIES,
    *maps.PROPERTIES,
    *map_files.PROPERTIES,
    *answers.PROPERTIES,
    *parameters.PROPERTIES,
)
