"""Boards to a static site that needs nothing but itself: no server, no network, no font or script of others' hosts."""
