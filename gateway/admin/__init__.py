"""What an admin may do, as functions that HTTP and the command line share.

Each takes the control database's engine and the actor's name, does its work in one transaction of its own, notes the
act there, and raises the errors of ``gateway/errors.py``. Acts upon budgets are facts of the ledger besides.
"""

from gateway.admin.answers import delete_answers, expire_answers
from gateway.admin.bounds import Estimate, estimate_bounds
from gateway.admin.budgets import clear_suspension, list_budgets, set_budget
from gateway.admin.datasets import DatasetRecord, apply_dataset, bump_data_version, list_datasets, show_dataset
from gateway.admin.home import Initialised, init
from gateway.admin.ledger import (
    acknowledge_ledger,
    compare_head,
    export_ledger,
    list_acts,
    list_entries,
    list_published,
    report_ledger,
    sign_head,
    verify_ledger,
)
from gateway.admin.people import (
    add_analyst,
    disable_analyst,
    enable_analyst,
    issue_token,
    list_analysts,
    list_tokens,
    revoke_token,
)
from gateway.admin.prepare import (
    PreparationReport,
    Progress,
    TableReport,
    drop_copy,
    is_prepared,
    prepare_dataset,
)
from gateway.admin.scopes import (
    join_project,
    leave_project,
    list_scopes,
    resume_grant,
    set_scope,
    suspend_grant,
)
from gateway.admin.suggest import Proposal, suggest_policy

__all__ = [
    "DatasetRecord",
    "Estimate",
    "Initialised",
    "PreparationReport",
    "Progress",
    "Proposal",
    "TableReport",
    "acknowledge_ledger",
    "add_analyst",
    "apply_dataset",
    "bump_data_version",
    "clear_suspension",
    "compare_head",
    "delete_answers",
    "disable_analyst",
    "drop_copy",
    "enable_analyst",
    "estimate_bounds",
    "expire_answers",
    "export_ledger",
    "init",
    "is_prepared",
    "issue_token",
    "join_project",
    "leave_project",
    "list_acts",
    "list_analysts",
    "list_budgets",
    "list_datasets",
    "list_entries",
    "list_published",
    "list_scopes",
    "list_tokens",
    "prepare_dataset",
    "report_ledger",
    "resume_grant",
    "revoke_token",
    "set_budget",
    "set_scope",
    "show_dataset",
    "sign_head",
    "suggest_policy",
    "suspend_grant",
    "verify_ledger",
]
