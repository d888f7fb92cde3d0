"""Conditionings that hold hidden states of several layers of one encoder side by side."""
