"""Every engine of a folder against PyTorch, stage by stage and layer by layer."""
