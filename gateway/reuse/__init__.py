"""Answers again: what a request finds of its answer among what was released before."""
