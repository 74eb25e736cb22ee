"""Floor 6: what is done with a finished run: its network as spikes, hybridised, or as rates."""
