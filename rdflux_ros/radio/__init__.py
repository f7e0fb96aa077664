"""What a radio map is: units, grids, the answer itself. Depends on nothing else of ours."""
