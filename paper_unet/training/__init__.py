"""Training as in sec. 3: data and their weights, tiles, the loop, and what a run leaves on disk."""
