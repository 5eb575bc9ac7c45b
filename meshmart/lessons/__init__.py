"""Six guided experiments on the running shop: predict, break, see, explain."""
