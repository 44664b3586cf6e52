"""Measures of an estimate against the truth, one file a family."""
