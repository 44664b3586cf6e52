"""Coordinates in which a flow or a chain is about as wide in all directions."""
