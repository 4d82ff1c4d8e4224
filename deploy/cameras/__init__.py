"""Cameras on threads of their own: frames with capture times, states, reconnects, thermal pictures, pairing."""
