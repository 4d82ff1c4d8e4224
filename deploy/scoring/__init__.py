"""How good a run was against a truth."""
