"""Mathematical equivalence: is an answer the gold one? Start at equivalence.py."""
