"""Who may open what: (method, path) -> roles. A route without a line here fails ``test_roles``.

``PUBLIC`` = everybody, logged in or not.
"""

PUBLIC = None
LABELERS = frozenset({"labeler", "adjudicator", "researcher", "admin"})
STAFF = frozenset({"researcher", "admin"})
LOOKERS = frozenset({"researcher", "admin", "viewer"})
ADMIN = frozenset({"admin"})
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

ADMIN_PAGES: dict[tuple[str, str], frozenset[str] | None] = {}

MATRIX = {**ACCOUNT, **TASKS, **PEOPLE, **ADMIN_PAGES}
