"""Networks with quantisers in the place of their nonlinearities, and back."""
