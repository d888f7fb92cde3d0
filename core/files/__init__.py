"""Files: written whole or not at all, names that every system takes, arrays from strangers."""
