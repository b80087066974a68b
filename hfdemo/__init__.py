"""A chat with any Hugging Face language model, in a browser page.

Importing the package loads no model, reads no environment variable and parses no argument.
`app.py` puts the parts together.
"""

__version__ = "0.1.0"
