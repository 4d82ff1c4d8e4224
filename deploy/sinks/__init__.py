"""Where sightings go: one file per destination."""
