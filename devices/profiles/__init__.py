"""One YAML per phone model, and the Python that reads them."""
