"""The control plane: everything stored that is not the ledger, and the engine that stores it."""
