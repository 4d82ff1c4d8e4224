"""One archive with all that a device without a network needs: code, engine, wheels and an installer."""
