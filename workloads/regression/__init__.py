"""Checks of what zram's writeback must never get wrong, each on a zram and a backing file of its own."""
