"""Runs on several phones or kernels."""
