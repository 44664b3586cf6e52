"""The JKO scheme on laws that it keeps elliptical, exactly."""
