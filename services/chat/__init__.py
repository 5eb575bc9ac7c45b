"""The chat service: rooms in which users talk, and the users who are in them."""
