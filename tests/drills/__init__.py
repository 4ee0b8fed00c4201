"""Drills: what happens to runs that are broken off."""
