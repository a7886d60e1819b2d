"""What exists and what it costs: architectures, search spaces, exact costs, limits."""
