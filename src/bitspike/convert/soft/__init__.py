"""Networks of soft firing rates run as spikes."""
