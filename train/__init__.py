"""Train and evaluate visible-infrared re-identification methods, and export them."""
