"""Methods that follow a density on the cells of a grid."""
