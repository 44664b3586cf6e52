"""JKO steps in gradients of input-convex networks."""
