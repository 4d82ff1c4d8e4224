"""Numbers from elsewhere, and how to reproduce their inputs."""
