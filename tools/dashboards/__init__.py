"""The Grafana dashboards, described in Python and written as JSON: `python -m tools.dashboards`.

May be imported by nothing. Start reading in `model`. See docs/dashboards.md.
"""
