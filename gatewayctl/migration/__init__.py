"""Reads another gateway's objects, and makes them here."""
