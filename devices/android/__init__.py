"""Android's own services: apps, screen, logs, and what writes back on its own."""
