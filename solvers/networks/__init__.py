"""Input-convex networks: their derivatives, and the invertible maps that are their gradients."""
