"""Running trials: one by one without Ray, or a sweep on every machine of a Ray cluster."""
