"""What the posterior of a logistic regression needs: its averages and its evidence."""
