"""The web server around the page: limits, headers, policy."""
