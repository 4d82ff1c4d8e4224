"""What a run was asked for: options from the command line and the site file, cameras and places, all checked."""
