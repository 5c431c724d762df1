"""What admins declare: datasets, owners, bounds, domains, public tables."""
