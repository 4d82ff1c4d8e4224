"""From a checkpoint to an engine folder, and what a board would make of it."""
