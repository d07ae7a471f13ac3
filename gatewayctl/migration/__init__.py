"""Reads what another gateway has, and makes it here."""
