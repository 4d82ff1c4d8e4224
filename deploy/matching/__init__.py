"""Who is who: the tracks of all cameras into identities."""
