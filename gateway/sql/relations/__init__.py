"""A query as a whole: FROM, WHERE, queries inside queries, views; each goes below the frontier or above it."""
