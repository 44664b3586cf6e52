"""Speed, memory and errors over time, measured by asv; ``make bench`` runs all of it in this environment."""
