"""The operator's page and what is served beside it; `routes` has the addresses, `server` the rules of the port."""
