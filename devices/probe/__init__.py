"""The probe's sessions and replies, and how it is built."""
