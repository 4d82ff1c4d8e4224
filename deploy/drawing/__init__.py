"""Annotated pictures, videos and windows."""
