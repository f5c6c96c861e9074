"""MoPoE-VAE: the model, its objective, its training and its evaluation (names are loaded on first use)."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mopoe.config import TrialConfig
    from mopoe.data import load as load_data
    from mopoe.data.arrays import data_from_arrays
    from mopoe.data.container import MultimodalData, Split
    from mopoe.data.registry import ModalitySpec
    from mopoe.evaluation.classifiers import Classifiers, load_classifiers
    from mopoe.evaluation.evaluate import Evaluator
    from mopoe.evaluation_config import EvaluationConfig, RungConfig
    from mopoe.likelihoods import Bernoulli, Categorical, Laplace, Likelihood, Normal
    from mopoe.methods import Bound, bound_of
    from mopoe.model import MoPoE, build_model
    from mopoe.networks.base import Modality
    from mopoe.objectives import generalized_elbo
    from mopoe.plugins import plugin
    from mopoe.reports import EpochReport, Evaluation
    from mopoe.training import train

_NAMES = {
    "bound": "Bound bound_of",
    "config": "TrialConfig",
    "data": "load_data",
    "data.arrays": "data_from_arrays",
    "data.container": "MultimodalData Split",
    "data.registry": "ModalitySpec",
    "evaluation.classifiers": "Classifiers load_classifiers",
    "evaluation.evaluate": "Evaluator",
    "evaluation_config": "EvaluationConfig RungConfig",
    "functions": "plugin",
    "likelihoods": "Bernoulli Categorical Laplace Likelihood Normal",
    "modality": "Modality",
    "model": "MoPoE build_model",
    "objective": "generalized_elbo",
    "records": "EpochReport Evaluation",
    "training": "train",
}
_HOMES = {name: f"mopoe.{module}" for module, names in _NAMES.items() for name in names.split()}

__all__ = [  # noqa: RUF022 - the order of the imports above
    "plugin",
    "Bound",
    "bound_of",
    "EvaluationConfig",
    "RungConfig",
    "TrialConfig",
    "load_data",
    "data_from_arrays",
    "MultimodalData",
    "Split",
    "ModalitySpec",
    "Classifiers",
    "load_classifiers",
    "Evaluator",
    "Bernoulli",
    "Categorical",
    "Laplace",
    "Likelihood",
    "Normal",
    "Modality",
    "MoPoE",
    "build_model",
    "generalized_elbo",
    "EpochReport",
    "Evaluation",
    "train",
]


def __dir__() -> list[str]:
    return sorted(__all__)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'mopoe' has no attribute {name!r}")
    attribute = "load" if name == "load_data" else name
    return getattr(import_module(_HOMES[name]), attribute)
