"""The analyst's text: the dialects' grammars, one spelling, and a tree within limits."""
