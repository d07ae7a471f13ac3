"""Everything but the provider is killed at random under load; then the books are checked."""
