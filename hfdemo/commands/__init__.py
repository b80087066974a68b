"""The terminal commands of `python -m hfdemo`; one module for each."""
