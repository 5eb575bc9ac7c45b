"""Experiments that the console starts: the scenes of the tour, and the lessons."""
