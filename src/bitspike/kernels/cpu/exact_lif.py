"""What the compiled loop of exact LIF neurons and its callers agree on, without Numba."""

BLOCK = 2048  # neurons: their state stays in the first-level cache over the steps
DIRECT, FIRST_ORDER, ALPHA = range(3)  # the synapse before them
