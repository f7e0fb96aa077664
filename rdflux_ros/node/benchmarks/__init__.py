"""What `benchmark` measures of the node on a real graph: its overhead, a soak, and fuzzed inputs."""
