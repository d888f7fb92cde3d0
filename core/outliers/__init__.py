"""Outlier dimensions: found, surveyed, tabulated."""
