"""Where a person of one camera stands in the picture of the camera beside it, from markers seen by both."""
