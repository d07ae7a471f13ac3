"""Everything but the provider is killed or paused at random under load; then books are checked."""
