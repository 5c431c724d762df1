"""How a release is laid out, bounded, noised and priced: from public facts alone."""
