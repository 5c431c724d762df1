"""What a gateway watches beside answering: whether it may answer at all, its ledger, what is due."""
