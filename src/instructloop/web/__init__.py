"""What every page of the project's servers shares: logins, roles, forms, errors, safe text, charts and the look."""
