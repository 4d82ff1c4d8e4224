"""The loop over all cameras, its load, its failures, and what it tells the outside."""
