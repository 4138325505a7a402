"""A phone and a probe for self-tests, as harsh as the real ones."""
