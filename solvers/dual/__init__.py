"""JKO steps solved in their dual, on finite bases."""
