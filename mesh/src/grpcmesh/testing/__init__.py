"""Help for tests: a ping service, a resolver and a clock that a test controls.

May be imported by nothing. Tests alone use it. Start reading in `ping`.
"""
