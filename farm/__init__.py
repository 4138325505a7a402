"""Several phones or machines: runs side by side, nights over a shelf, and what many nights say."""
