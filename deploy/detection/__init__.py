"""Finding people in frames: by a network, by motion, or from a file."""
