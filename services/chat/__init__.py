"""Rooms in which users talk, and who is in them."""
