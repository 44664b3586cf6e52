"""Speed, memory and errors over time, measured by asv; ``make bench`` runs all of it in this environment."""

from solvers.reproducibility import hold

hold()  # before torch works out anything, as cells have it
