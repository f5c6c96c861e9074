"""A sweep's YAML file as a validated object, and every mistake in it as one sentence."""
