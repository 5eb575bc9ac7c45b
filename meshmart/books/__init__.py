"""The shop's books: read from the services' databases, and checked against each other.

May be imported by `meshmart`. Start reading in `check`.
"""
