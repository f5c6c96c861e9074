"""The halves of digits with multivae 1.0.3: data, training, both objectives, and the use of a model.

The programs beside this file share it. Networks, and all that is not set here, are multivae's defaults.
"""

import numpy as np
import pandas as pd
import torch
from mopoe.runtime import torchvision  # CPU build

torchvision("utils")  # CPU build: torchvision's wheel does not import beside one of torch

from multivae.data.datasets import MultimodalBaseDataset
from multivae.models import AutoModel, MoPoE, MoPoEConfig
from multivae.trainers import BaseTrainer, BaseTrainerConfig
from multivae.trainers.base.callbacks import TrainingCallback
from sklearn.linear_model import LogisticRegression

OBJECTIVES = ["conditional_coherence", "log_likelihood"]
TRIALS, SEEDS, EPOCHS, RUNG, VALIDATED = 6, 2, 8, 4, 300


def pixels(table):
    """Return what is not a name or a class, as multivae takes it."""
    return table.drop(columns=["digit", "label"]).to_numpy(np.float32)


class Halves:
    """The digits of which both halves are known, and classifiers that judge a generated half."""

    def __init__(self):
        tables = {half: pd.read_csv(f"{half}.csv") for half in ("left", "right")}
        self.labels = tables["right"]["label"].to_numpy()
        x = {half: pixels(table) for half, table in tables.items()}
        order = np.random.default_rng(0).permutation(len(self.labels))
        self.validated, trained = order[:VALIDATED], order[VALIDATED:]
        self.train, self.validation = (
            MultimodalBaseDataset({half: torch.tensor(a[rows]) for half, a in x.items()})
            for rows in (trained, self.validated)
        )
        self.judges = {
            half: LogisticRegression(max_iter=1000).fit(a[trained], self.labels[trained])
            for half, a in x.items()
        }

    def measure(self, model):
        """Return both objectives of a model."""
        labels = self.labels[self.validated]
        with torch.no_grad():
            right = [
                self.judges[target].score(self.validation_from(model, source)[target], labels)
                for source, target in (("left", "right"), ("right", "left"))
            ]
            some = MultimodalBaseDataset({half: x[:100] for half, x in self.validation.data.items()})
            # Not compute_joint_nll, whose result is not an estimate of it (docs/peers.md).
            nll = model.compute_joint_nll_paper(some, K=100, batch_size_K=100)
        return [float(np.mean(right)), -float(nll) / 100]

    def validation_from(self, model, source):
        """Return the other half as generated from one half of the validation digits."""
        return model.predict(self.validation, cond_mod=source)


class AtRung(TrainingCallback):
    """Gives the model to a function after some epochs."""

    def __init__(self, function):
        self.function, self.epochs = function, 0

    def on_epoch_end(self, training_config, **kwargs):
        self.epochs += 1
        if self.epochs == RUNG:
            self.function(kwargs["model"])


def train(halves, settings, seed, folder, at_rung=None):
    """Train a model and return its objectives and the folder it was saved in."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    config = MoPoEConfig(
        n_modalities=2,
        input_dims={half: tuple(x.shape[1:]) for half, x in halves.train.data.items()},
        latent_dim=settings["latent_dim"],
        beta=settings["beta"],
        decoder_dist_params={half: {"scale": 0.3} for half in ("left", "right")},
    )
    training = BaseTrainerConfig(
        output_dir=f"{folder}/{seed}",
        num_epochs=EPOCHS,
        learning_rate=settings["lr"],
        per_device_train_batch_size=32,
        seed=seed,
    )
    callbacks = [AtRung(lambda model: at_rung(halves.measure(model)))] if at_rung else None
    trainer = BaseTrainer(MoPoE(config), halves.train, halves.validation, training, callbacks)
    trainer.train()
    saved = f"{trainer.training_dir}/final_model"
    return halves.measure(AutoModel.load_from_folder(saved)), saved


def use(folder):
    """Print how well a saved model imputes the right halves that were kept back."""
    left, right = (pixels(pd.read_csv(f"{half}_kept_back.csv")) for half in ("left", "right"))
    model = AutoModel.load_from_folder(folder)
    given = MultimodalBaseDataset({"left": torch.tensor(left)})
    with torch.no_grad():
        z = model.encoders["left"](given.data["left"]).embedding
        imputed = model.decoders["right"](z).reconstruction.numpy()
    explained = 1 - ((imputed - right) ** 2).mean() / ((right - right.mean(0)) ** 2).mean()
    print(f"of the variance of the right halves kept back {explained:.2f} is explained")
