"""A sweep on many machines: the cluster's file, its jobs, its results, and what is wrong there."""
