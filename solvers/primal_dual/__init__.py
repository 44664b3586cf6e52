"""JKO steps as saddle points: a map against a network that stands for the density it leads to."""
