"""What many nights say: an index of stored runs, trends, pages, and what may go."""
