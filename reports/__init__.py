"""Results on disk, statistics and rendering; knows nothing of phones."""
