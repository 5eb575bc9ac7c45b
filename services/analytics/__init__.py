"""What happens in the shop, counted by the minute."""
