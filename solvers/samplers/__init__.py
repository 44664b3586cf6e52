"""Samplers of stationary laws: Langevin chains and Stein variational descent."""
