"""Which model, where its files come from, how it is loaded, and why it did not load."""
