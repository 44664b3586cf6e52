"""Methods whose answer is a Gaussian: exact JKO steps, variational inference, Laplace."""
