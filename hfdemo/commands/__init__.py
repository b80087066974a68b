"""What `python -m hfdemo` can do in the terminal; one module for each command."""
