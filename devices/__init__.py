"""A phone that we can command and always put back."""
