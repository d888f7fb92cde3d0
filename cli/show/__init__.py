"""The terminal and HTML pages."""
