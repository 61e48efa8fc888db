"""Where tasks run. An engine is a context manager with `map(job, tasks)`; see `local.Local`."""
