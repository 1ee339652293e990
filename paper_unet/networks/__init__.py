"""Networks beside the paper's: it with one choice changed, and the well-known variants of it."""
