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

TASKS: dict[tuple[str, str], frozenset[str] | None] = {}

PEOPLE: dict[tuple[str, str], frozenset[str] | None] = {}

ADMIN_PAGES: dict[tuple[str, str], frozenset[str] | None] = {}

MATRIX = {**ACCOUNT, **TASKS, **PEOPLE, **ADMIN_PAGES}
