"""MoPoE-VAE: the model, its objective, its training and its evaluation (names are loaded on first use)."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mopoe.bound import Bound, bound_of
    from mopoe.config import TrialConfig
    from mopoe.data import load as load_data
    from mopoe.data.arrays import data_from_arrays
    from mopoe.data.container import MultimodalData, Split
    from mopoe.data.registry import ModalitySpec
    from mopoe.evaluation.classifiers import Classifiers, load_classifiers
    from mopoe.evaluation.evaluate import Evaluator
    from mopoe.evaluation_config import EvaluationConfig, RungConfig
    from mopoe.functions import plugin
    from mopoe.likelihoods import Bernoulli, Categorical, Laplace, Likelihood, Normal
    from mopoe.modality import Modality
    from mopoe.model import MoPoE, build_model
    from mopoe.objective import generalized_elbo
    from mopoe.records import EpochReport, Evaluation
    from mopoe.training import train

_HOMES = {
    "Bernoulli": "mopoe.likelihoods",
    "Bound": "mopoe.bound",
    "Categorical": "mopoe.likelihoods",
    "Classifiers": "mopoe.evaluation.classifiers",
    "EpochReport": "mopoe.records",
    "Evaluation": "mopoe.records",
    "EvaluationConfig": "mopoe.evaluation_config",
    "Evaluator": "mopoe.evaluation.evaluate",
    "Laplace": "mopoe.likelihoods",
    "Likelihood": "mopoe.likelihoods",
    "MoPoE": "mopoe.model",
    "Modality": "mopoe.modality",
    "ModalitySpec": "mopoe.data.registry",
    "MultimodalData": "mopoe.data.container",
    "Normal": "mopoe.likelihoods",
    "RungConfig": "mopoe.evaluation_config",
    "Split": "mopoe.data.container",
    "TrialConfig": "mopoe.config",
    "bound_of": "mopoe.bound",
    "build_model": "mopoe.model",
    "data_from_arrays": "mopoe.data.arrays",
    "generalized_elbo": "mopoe.objective",
    "load_classifiers": "mopoe.evaluation.classifiers",
    "load_data": "mopoe.data",
    "plugin": "mopoe.functions",
    "train": "mopoe.training",
}

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
