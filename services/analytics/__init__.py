"""The analytics service: counts what happens in the shop, by the minute."""
