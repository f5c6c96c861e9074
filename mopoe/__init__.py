"""MoPoE-VAE: the model, its objective, its training and its evaluation.

A name is imported when it is first used, so that `import mopoe` alone does not import torch.
"""

import ast
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the one list of public names, which is also read at run time
    from mopoe.checkpoint import load_model as load_model
    from mopoe.config import TrialConfig as TrialConfig
    from mopoe.data import load as load_data  # noqa: F401 - a name of this package
    from mopoe.data.arrays import data_from_arrays as data_from_arrays
    from mopoe.data.container import MultimodalData as MultimodalData
    from mopoe.data.container import Split as Split
    from mopoe.data.registry import ModalitySpec as ModalitySpec
    from mopoe.evaluation.classifiers import Classifiers as Classifiers
    from mopoe.evaluation.classifiers import load_classifiers as load_classifiers
    from mopoe.evaluation.evaluate import Evaluator as Evaluator
    from mopoe.evaluation_config import EvaluationConfig as EvaluationConfig
    from mopoe.likelihoods import Bernoulli as Bernoulli
    from mopoe.likelihoods import Categorical as Categorical
    from mopoe.likelihoods import Laplace as Laplace
    from mopoe.likelihoods import Likelihood as Likelihood
    from mopoe.likelihoods import Normal as Normal
    from mopoe.methods import MethodSpec as MethodSpec
    from mopoe.model import MoPoE as MoPoE
    from mopoe.model import build_model as build_model
    from mopoe.networks.base import Modality as Modality
    from mopoe.plugins import plugin as plugin
    from mopoe.reports import EpochReport as EpochReport
    from mopoe.reports import Evaluation as Evaluation
    from mopoe.training import train as train

_HOMES = {
    alias.asname: (str(node.module), alias.name)
    for node in ast.walk(ast.parse(Path(__file__).read_text(encoding="utf-8")))
    if isinstance(node, ast.ImportFrom)
    for alias in node.names
    if alias.asname
}
__all__ = sorted(_HOMES)  # noqa: PLE0605 - derived from the list above


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'mopoe' has no attribute {name!r}")
    module, attribute = _HOMES[name]
    return getattr(import_module(module), attribute)
