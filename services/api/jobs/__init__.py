"""Jobs over HTTP: routes, schemas, validation, submission, plans."""
