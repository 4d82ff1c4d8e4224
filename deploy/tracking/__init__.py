"""Boxes into tracks, and which crops of a track become evidence."""
