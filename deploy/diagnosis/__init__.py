"""What is on this device and what is missing for a run."""
