"""A small shop whose only state is sessions, and those live in the store under demonstration."""
