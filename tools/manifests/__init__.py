"""Writes the files that follow from the services' manifests: `python -m tools.manifests`.

With `--check` it only compares them. May be imported by nothing. Start reading in `__main__`.
"""
