"""What geometry alone says about path gain: no learning, milliseconds."""
