"""Methods that follow particles along the flow, and how particles are drawn and resampled."""
