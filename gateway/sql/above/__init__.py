"""At the frontier and above: what is released, and what is computed from it and from public rows."""
