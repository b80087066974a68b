"""Engines turn a request into the pieces of a reply. `protocol.py` says what every engine offers."""
