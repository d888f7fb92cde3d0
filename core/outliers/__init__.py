"""Dimensions that are out of line: found, surveyed, tabulated."""
