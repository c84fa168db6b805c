"""Who may open what: (method, path) -> roles. A route without a line here fails ``test_roles``.

``PUBLIC`` = everybody, logged in or not.
"""

PUBLIC = None
LABELERS = frozenset({"labeler", "adjudicator", "researcher", "admin"})
STAFF = frozenset({"researcher", "admin"})
LOOKERS = frozenset({"researcher", "admin", "viewer"})
ADMIN = frozenset({"admin"})
DECIDERS = frozenset({"adjudicator", "researcher", "admin"})
EVERYBODY = frozenset({"labeler", "adjudicator", "researcher", "admin", "viewer"})

ACCOUNT = {
    ("GET", "/health"): PUBLIC,
    ("GET", "/"): EVERYBODY,
    ("GET", "/login"): PUBLIC,
    ("POST", "/login"): PUBLIC,
    ("POST", "/logout"): EVERYBODY,
    ("GET", "/setup"): PUBLIC,
    ("GET", "/setup/{token}"): PUBLIC,
    ("POST", "/setup/{token}"): PUBLIC,
    ("GET", "/invite/{token}"): PUBLIC,
    ("POST", "/invite/{token}"): PUBLIC,
    ("GET", "/password/{token}"): PUBLIC,
    ("POST", "/password/{token}"): PUBLIC,
    ("GET", "/account"): EVERYBODY,
    ("POST", "/account/name"): EVERYBODY,
    ("POST", "/account/password"): EVERYBODY,
    ("POST", "/account/logins"): EVERYBODY,
    ("POST", "/account/preferences"): LABELERS,
    ("GET", "/static/web/{version}/{path:path}"): PUBLIC,
    ("GET", "/static/labeling/{version}/{path:path}"): PUBLIC,
}

TASKS = {
    ("GET", "/work"): LABELERS,
    ("GET", "/work/keys"): LABELERS,
    ("POST", "/work/keys"): LABELERS,
    ("GET", "/work/{queue_id}"): LABELERS,
    ("GET", "/task/{assignment_id}"): LABELERS,
    ("POST", "/task/{assignment_id}"): LABELERS,
    ("POST", "/task/{assignment_id}/draft"): LABELERS,
    ("POST", "/task/{assignment_id}/heartbeat"): LABELERS,
    ("POST", "/task/{assignment_id}/skip"): LABELERS,
    ("POST", "/task/{assignment_id}/release"): LABELERS,
    ("GET", "/submission/{submission_id}/edit"): LABELERS,
    ("POST", "/submission/{submission_id}/edit"): LABELERS,
    ("GET", "/guidelines/{name}/{version}"): EVERYBODY,
}

PEOPLE: dict[tuple[str, str], frozenset[str] | None] = {
    ("GET", "/home"): LABELERS,
    ("GET", "/onboarding"): LABELERS,
    ("GET", "/onboarding/notice"): LABELERS,
    ("POST", "/onboarding/notice"): LABELERS,
    ("GET", "/onboarding/guidelines"): LABELERS,
    ("POST", "/onboarding/guidelines"): LABELERS,
    ("GET", "/onboarding/training"): LABELERS,
    ("GET", "/onboarding/training/{number}"): LABELERS,
    ("POST", "/onboarding/training/{number}"): LABELERS,
    ("GET", "/screening"): LABELERS,
    ("POST", "/screening"): LABELERS,
    ("GET", "/screening/{attempt_id}"): LABELERS,
    ("POST", "/screening/{attempt_id}"): LABELERS,
    ("GET", "/surveys/{kind}"): LABELERS,
    ("POST", "/surveys/{kind}"): LABELERS,
    ("GET", "/messages"): LABELERS,
    ("POST", "/messages"): LABELERS,
}

ADMIN_PAGES: dict[tuple[str, str], frozenset[str] | None] = {
    ("GET", "/admin"): LOOKERS,
    ("GET", "/admin/throughput"): LOOKERS,
    ("GET", "/admin/agreement"): LOOKERS,
    ("GET", "/admin/comparisons"): LOOKERS,
    ("GET", "/admin/surveys"): LOOKERS,
    ("GET", "/admin/labelers"): LOOKERS,
    ("GET", "/admin/labelers/{labeler_id}"): LOOKERS,
    ("GET", "/admin/screening"): STAFF,
    ("GET", "/admin/screening/rate"): STAFF,
    ("GET", "/admin/screening/{kind}.jsonl"): STAFF,
    ("GET", "/admin/messages"): STAFF,
    ("GET", "/admin/queues"): STAFF,
    ("GET", "/admin/queues/{queue_id}"): STAFF,
    ("GET", "/admin/gold"): STAFF,
    ("GET", "/admin/guidelines"): STAFF,
    ("GET", "/admin/guidelines/{name}"): STAFF,
    ("GET", "/admin/prompts"): STAFF,
    ("GET", "/admin/prompts/quarantine"): STAFF,
    ("GET", "/admin/prompts/{prompt_id}"): STAFF,
    ("GET", "/admin/exports"): STAFF,
    ("GET", "/admin/exports/{name}"): STAFF,
    ("GET", "/admin/exports/{name}/manifest"): STAFF,
    ("GET", "/admin/audit"): STAFF,
    ("GET", "/admin/audit/verify"): STAFF,
    ("POST", "/admin/labelers/{labeler_id}/state"): STAFF,
    ("POST", "/admin/labelers/{labeler_id}/qualify"): STAFF,
    ("POST", "/admin/labelers/{labeler_id}/attempt"): STAFF,
    ("POST", "/admin/labelers/{labeler_id}/message"): STAFF,
    ("POST", "/admin/screening"): STAFF,
    ("POST", "/admin/screening/rate"): STAFF,
    ("POST", "/admin/screening/questions"): STAFF,
    ("POST", "/admin/queues"): STAFF,
    ("POST", "/admin/queues/{queue_id}/state"): STAFF,
    ("POST", "/admin/queues/{queue_id}/fill"): STAFF,
    ("POST", "/admin/queues/{queue_id}/release"): STAFF,
    ("POST", "/admin/queues/{queue_id}/reconcile"): STAFF,
    ("POST", "/admin/gold"): STAFF,
    ("POST", "/admin/gold/{gold_id}"): STAFF,
    ("POST", "/admin/guidelines"): STAFF,
    ("POST", "/admin/prompts/{prompt_id}/review"): STAFF,
    ("POST", "/admin/exports"): STAFF,
    ("GET", "/admin/disagreements"): DECIDERS,
    ("GET", "/admin/disagreements/{task_id}"): DECIDERS,
    ("POST", "/admin/disagreements/{task_id}"): DECIDERS,
    ("GET", "/admin/users"): ADMIN,
    ("POST", "/admin/users/invite"): ADMIN,
    ("POST", "/admin/users/invitations/{link_id}"): ADMIN,
    ("POST", "/admin/users/{user_id}/role"): ADMIN,
    ("POST", "/admin/users/{user_id}/status"): ADMIN,
    ("POST", "/admin/users/{user_id}/password"): ADMIN,
}

MATRIX = {**ACCOUNT, **TASKS, **PEOPLE, **ADMIN_PAGES}
