"""One page about a training run, or runs side by side."""
