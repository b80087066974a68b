"""A Space from this folder: what is sent, what a Space would refuse, and the Space's life on the Hub.

Nothing here talks to the terminal; `hfdemo.commands.publish` does.
"""
