"""How problems and solvers are run, measured and kept."""
