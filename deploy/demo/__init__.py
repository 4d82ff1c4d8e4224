"""The whole road on synthetic people, and its page."""
