"""Trained ReLU networks as spikes whose rates are the activations."""
