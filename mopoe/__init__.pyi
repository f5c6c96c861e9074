# The public names of mopoe: the one list, for type checkers and at run time.
from .checkpoint import load_model as load_model
from .config import TrialConfig as TrialConfig
from .data import load_data as load_data
from .data.arrays import data_from_arrays as data_from_arrays
from .data.container import MultimodalData as MultimodalData
from .data.container import Split as Split
from .data.registry import Covariate as Covariate
from .data.registry import ModalitySpec as ModalitySpec
from .evaluation.classifiers import Classifiers as Classifiers
from .evaluation.classifiers import load_classifiers as load_classifiers
from .evaluation.evaluate import Evaluator as Evaluator
from .evaluation_config import EvaluationConfig as EvaluationConfig
from .likelihoods import (
    Bernoulli as Bernoulli,
)
from .likelihoods import (
    Categorical as Categorical,
)
from .likelihoods import (
    FeatureNormal as FeatureNormal,
)
from .likelihoods import (
    Laplace as Laplace,
)
from .likelihoods import (
    Likelihood as Likelihood,
)
from .likelihoods import (
    NegativeBinomial as NegativeBinomial,
)
from .likelihoods import (
    Normal as Normal,
)
from .likelihoods import (
    Poisson as Poisson,
)
from .methods import MethodSpec as MethodSpec
from .model import MoPoE as MoPoE
from .model import build_model as build_model
from .networks.base import Modality as Modality
from .own_metrics import Metric as Metric
from .own_metrics import MetricContext as MetricContext
from .own_metrics import metric as metric
from .plugins import plugin as plugin
from .reports import EpochReport as EpochReport
from .reports import Evaluation as Evaluation
from .trained import TrainedModel as TrainedModel
from .trained import load as load
from .training import train as train
