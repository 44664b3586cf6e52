"""Reference solutions: grids in one and two dimensions, exact filters, products."""
