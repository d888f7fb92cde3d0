"""How the values of one dimension are replaced, and at which tokens."""

ZERO, MEAN, SHUFFLE = "zero", "mean", "shuffle"
ALL, SINKS, OTHERS = "all", "sinks", "others"
WAYS, PLACES = (ZERO, MEAN, SHUFFLE), (ALL, SINKS, OTHERS)
