"""Publishing this folder as a Space: which files to send, what a Space would reject, and its stages on the Hub.

Nothing here prints; `hfdemo.commands.publish` does.
"""
