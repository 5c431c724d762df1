"""Noise and its mathematics: no SQL, no HTTP, no database, no clock."""
