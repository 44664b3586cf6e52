"""The report of a store: tables, figures and the page, all from the frame of ``harness.frame``."""
