"""Build engines and run cameras: the part that stands on the pole."""
