"""Load generation: open-loop arrivals, journeys through the shop, and a report of what a buyer would have
seen.

May be imported by `meshmart`, `bench`. Start reading in `engine`.
"""
