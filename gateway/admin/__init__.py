"""What an admin may do, as functions that HTTP and the command line share.

Each takes the control database's engine and the actor's name, does its work in one transaction of its own, notes the
act there, and raises the errors of ``gateway/errors.py``. Acts upon budgets are facts of the ledger besides.
"""

from gateway.admin.budgets import clear_suspension, list_budgets, set_budget
from gateway.admin.datasets import DatasetRecord, apply_dataset, bump_data_version, list_datasets, show_dataset
from gateway.admin.home import Initialised, init
from gateway.admin.ledger import list_acts, list_entries, verify_ledger
from gateway.admin.people import (
    add_analyst,
    disable_analyst,
    enable_analyst,
    issue_token,
    list_analysts,
    list_tokens,
    revoke_token,
)

__all__ = [
    "DatasetRecord",
    "Initialised",
    "add_analyst",
    "apply_dataset",
    "bump_data_version",
    "clear_suspension",
    "disable_analyst",
    "enable_analyst",
    "init",
    "issue_token",
    "list_acts",
    "list_analysts",
    "list_budgets",
    "list_datasets",
    "list_entries",
    "list_tokens",
    "revoke_token",
    "set_budget",
    "show_dataset",
    "verify_ledger",
]
