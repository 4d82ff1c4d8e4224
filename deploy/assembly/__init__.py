"""A run from its command line or site file: cameras, model, gallery and outputs put together."""
