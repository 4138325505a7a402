"""The regression suite: nothing is corrupted, leaked or stuck. It runs when it is asked for, with ``-m regression``."""
