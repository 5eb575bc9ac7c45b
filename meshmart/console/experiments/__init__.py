"""Experiments that the console starts: the scenes of the tour, and the lessons.

May be imported by `meshmart.console`. Start reading in `runner`.
"""
