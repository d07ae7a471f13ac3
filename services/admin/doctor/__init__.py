"""Looks at everything that the gateway stands on, and says what is wrong and what mends it."""
