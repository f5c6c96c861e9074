"""Two files of a sweep, and the phrases of the messages about their mistakes, for the tests of the spec."""

import re
from dataclasses import fields

from mopoe import quantities
from mopoe.config import TrialConfig

FULL = """\
name: digits
data: {name: digits, seed: 1}
trials: 14
seed: 3
sampler: nsga2
objectives: [log_likelihood, joint_coherence]
reference_point:
  log_likelihood: -9000
  joint_coherence: 0.1
search_space:
  beta: {type: log_uniform, low: 0.25, high: 8}
  lr:
    type: uniform
    low: 1e-3
    high: 4e-3
  latent_dim: {type: int, low: 8, high: 64, log: true}
  batch_size: {type: choice, values: [64, 128]}
  subset_weights: {type: simplex, over: size}
fixed:
  epochs: 5
  channels: [16, 32, 64]
evaluation:
  coherence_samples: 300
  split: test
resources: {cpu: 2, gpu: 0.25, concurrent: 4}
"""
SHORT = """\
name: short
data: {name: digits}
trials: 3
reference_point: {conditional_coherence: 0.1, log_likelihood: -9000}
search_space: {beta: {type: uniform, low: 1, high: 2}}
"""
SETTINGS = ", ".join(f.name for f in fields(TrialConfig))
SAMPLERS = "tpe, gp, nsga2, nsga3, random, qmc, grid, module:function"
KINDS = "uniform, log_uniform, int, choice, simplex"
TOP = (
    "name, data, trials, budget, seed, sampler, evaluation, objectives, reference_point, search_space, "
    "fixed, scheduler, constraints, start_with, warm_start, resources, replicates, faults, keep"
)
EVALUATION = (
    "split, every, coherence_samples, joint_samples, likelihood_samples, importance_samples, subset_sizes, "
    "own_targets, intermediate, final_metrics, metrics, pictures, seed, precision, inception_weights"
)
AT_RUNGS = (
    "coherence_samples, joint_samples, likelihood_samples, importance_samples, subset_sizes, own_targets"
)
OBJECTIVES = ", ".join(quantities.KINDS)
COUNT = "but must be a whole number between 1 and 1,000,000"
CONCURRENT = "but must be a whole number between 1 and 100,000, or null"
WORD = "but must be a word (a number or date in quotes)"
MAPPING = "but must be a mapping of keys to values"
GPU = "but must be auto, or a number between 0 and 1"
OVER = "but must be size, subset, or a list of at least two subsets such as m0+m1"
FOLDER = "but must be made of letters, digits, '.', '_' and '-', as it names a folder"
WEIGHTS = (
    "subset_weights has 2 numbers, but must have 5 (one per subset size) or 31 (one per subset)"
    " for 5 modalities"
)
DIFFER = "but must differ; put a constant under `fixed`"
FINITE = "but must be a finite number"

DROPOUT = "did you mean 'dropout'? possible: dropout, normalisation, hidden_widths"
NORMALISATION = "but must be one of none, batch, layer"
HIDDEN_WIDTHS = "but must be a list of whole numbers between 1 and 16,384, or null"
NOWHERE = "is of a modality that does not exist"
MODALITIES = "possible: m0, m1, m2, m3, m4"
NETWORK = "but must be a mapping of options to values, or of modalities to such mappings"


def mistakes(text: str) -> list[tuple[str, str, str]]:
    """Return what each block of a text replaces in `FULL`, what by, and the message, with its <PHRASES>."""
    blocks = []
    for block in text.strip("\n").split("\n\n"):
        change, message = block.split("\n")
        old, new = (part.replace("\\n", "\n") for part in change.split(" => "))
        for name in re.findall("<([A-Z_]+)>", message):
            message = message.replace(f"<{name}>", str(globals()[name]))
        blocks.append((old, new.replace("(nothing)", ""), message.replace("\\n", "\n")))
    return blocks
