"""Architectures, search spaces, exact costs, and limits on cost."""
