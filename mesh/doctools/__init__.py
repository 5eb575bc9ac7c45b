"""Builds the documentation: the generated pages, and the hooks of the site. Not part of the wheel."""
