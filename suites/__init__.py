"""Pytest modules that run on a phone; one behaviour each."""
