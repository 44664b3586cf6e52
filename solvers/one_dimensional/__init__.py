"""Methods for flows on the line: finite volumes and JKO steps of quantile functions."""
