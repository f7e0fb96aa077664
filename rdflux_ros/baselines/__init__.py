"""What the method must beat, on the same interface."""
