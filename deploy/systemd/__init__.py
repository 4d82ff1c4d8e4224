"""Crosslight as a systemd service: the unit's text, what it needs on this machine, and putting it there."""
