"""Below the frontier: how rows of owners are joined, folded, ranked and put together, one owner at a time."""
