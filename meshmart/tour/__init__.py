"""The tour: scenes that break something under load, measure what callers saw, and compare it with a bound.

May be imported by `meshmart`. Start reading in `scenes`. See docs/tour.md.
"""
