"""How each engine's SQL is written: all that differs from one database to the next, one module a dialect."""
