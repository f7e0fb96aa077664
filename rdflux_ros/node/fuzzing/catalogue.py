"""All properties; `make test` tries a few hundred examples of each, `benchmark --fuzz` as many as it is told."""

from rdflux_ros.node.fuzzing import answers, clouds, map_files, maps, obstacles, parameters, paths, poses

PROPERTIES = (
    *poses.PROPERTIES,
    *maps.PROPERTIES,
    *map_files.PROPERTIES,
    *obstacles.PROPERTIES,
    *paths.PROPERTIES,
    *clouds.PROPERTIES,
    *answers.PROPERTIES,
    *parameters.PROPERTIES,
)
