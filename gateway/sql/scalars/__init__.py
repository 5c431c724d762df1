"""Expressions: what names mean, and each function, operator and constant lowered onto the allow-list."""
