"""Who may spend how much privacy loss, and the ledger that proves it."""
