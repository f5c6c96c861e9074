"""A sweep on many machines: the cluster's file, its head, jobs on it, and whether all is well there."""
