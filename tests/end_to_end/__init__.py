"""Stages together, as a user runs them."""
