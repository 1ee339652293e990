"""From an image to scores and probabilities: streaming, tiles, averages (sec. 1, 2 and 4)."""
