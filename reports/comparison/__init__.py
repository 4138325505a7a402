"""Stored results, before against after, with verdicts."""
