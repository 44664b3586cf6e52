"""Data sets: where they come from, how they are checked and kept, and how they are split."""
