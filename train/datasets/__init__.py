"""Datasets on disk, read without torch."""
