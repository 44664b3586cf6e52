"""What can be said of solvers from their figures: how far above exact draws they are, and which is better."""
