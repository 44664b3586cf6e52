"""The posterior of a logistic regression: its potential, its averages over Gaussians, and its evidence."""
