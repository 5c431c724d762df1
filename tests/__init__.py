"""The tests, and what they share; a package of their own so that no library of the same name hides it."""
