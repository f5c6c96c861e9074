"""Held-out measurements of a trained model: coherence, log-likelihood, classifiers, pictures."""
