"""What comes with the package and is called by name: its options, and where its class lies. No torch, no NumPy.

One file per room of the registry. The text under a field is its documentation.
"""
