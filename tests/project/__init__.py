"""The project itself: what `make check`, the licence check, the SBOM and the architecture page are made with."""
