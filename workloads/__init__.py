"""Loads that we put on a phone, and how we measure them."""
