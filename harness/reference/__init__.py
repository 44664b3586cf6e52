"""Reference posteriors by converged NUTS runs, which take the extra `reference`."""
