"""From which cosine on two tracks are one person, measured on held-out people or on site."""
