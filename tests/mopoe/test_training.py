"""The training function against a plain trainer; reproducibility, resuming, divergence, and every setting."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from training_runs import CONFIG, SMALL, cut_off, run, same_weights

from mopoe.checkpoint import read_progress
from mopoe.data.container import MultimodalData, Split
from mopoe.data.registry import ModalitySpec
from mopoe.elbo import generalized_elbo
from mopoe.errors import CheckpointError, DivergedError
from mopoe.likelihoods import Bernoulli, Likelihood, Normal
from mopoe.model import MoPoE, build_model
from mopoe.networks.base import Modality
from mopoe.reports import EpochReport, Evaluation
from mopoe.training import loss_weights, step_draws, train


def vectors(pixels: Tensor | None = None) -> MultimodalData:
    """Return ten samples of two vectors, of 3 and 5 elements."""
    rng = torch.Generator().manual_seed(8)
    x = {n: torch.randint(0, 256, (10, d), generator=rng, dtype=torch.uint8) for n, d in (("u", 3), ("v", 5))}
    split = Split(x if pixels is None else x | {"u": pixels}, torch.arange(10) % 2)
    return MultimodalData(
        name="vectors",
        options={},
        fingerprint="vectors",
        modalities=(ModalitySpec(name="u", shape=(3,)), ModalitySpec(name="v", shape=(5,))),
        n_classes=2,
        train=split,
        validation=split,
        test=split,
    )


class Heads(nn.Module):
    """A small encoder of vectors."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(width, 8), nn.Tanh(), nn.Linear(8, 4))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance in two dimensions."""
        mu, logvar = self.trunk(x).chunk(2, dim=1)
        return mu, logvar


def mlps(likelihood: Likelihood | None = None) -> MoPoE:
    """Return a model of the two vectors with networks of its own."""
    torch.manual_seed(0)
    return MoPoE(
        {
            "u": Modality(Heads(3), nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 3)), Normal(0.2)),
            "v": Modality(Heads(5), nn.Linear(2, 5), likelihood or Bernoulli()),
        },
        2,
    )


@pytest.mark.parametrize(
    ("weights", "prior_expert"), [(None, "full"), ((0.3, 0.7), "none"), ((0.2, 0.0, 0.8), "all")]
)
def test_training_equals_a_plain_trainer(
    tiny_data: MultimodalData,
    train_plainly: Callable[..., list[dict[str, float]]],
    in_double: Callable[..., MoPoE],
    weights: tuple[float, ...] | None,
    prior_expert: str,
) -> None:
    """After 51 steps in float64 all weights equal to 1e-10 those of a loop over subsets and unfused Adam.

    Ours has channels-last weights and fused Adam, which ignores strides; the plain one is contiguous. Were a
    gradient laid out otherwise than its parameter, the two would part at the first step.
    """
    config = replace(CONFIG, epochs=17, subset_weights=weights, prior_expert=prior_expert)
    settings = {"subset_weights": weights, "prior_expert": prior_expert}
    model = in_double(build_model(config, tiny_data.modalities), **settings)
    assert not model.encoders["colour"].inner.convolutions[0].weight.is_contiguous()
    reference = in_double(build_model(config, tiny_data.modalities), **settings)
    reference = reference.to(memory_format=torch.contiguous_format)
    expected = train_plainly(reference, config, tiny_data.train)
    trained, reports = run(config, tiny_data, model=model)
    theirs = dict(reference.named_parameters())
    start = dict(in_double(build_model(config, tiny_data.modalities), **settings).named_parameters())
    for name, parameter in trained.named_parameters():
        torch.testing.assert_close(parameter, theirs[name], atol=1e-10, rtol=1e-10, msg=name)
        assert float((parameter - start[name]).detach().abs().max()) > 0.01
    for report, sums in zip(reports, expected, strict=True):
        found = {"loss": report.loss, "kl": report.kl, **report.reconstruction, "grad_norm": report.grad_norm}
        assert found == pytest.approx(sums, rel=1e-6)
        assert report.elbo == pytest.approx(-(sums["grey"] + sums["colour"] + sums["kl"]), rel=1e-6)
    assert [(r.epoch, r.step, r.examples) for r in reports] == [(e, 3 * e, 22 * e) for e in range(1, 18)]
    assert {r.lr for r in reports} == {1e-2}


def test_float32_stays_near_float64(tiny_data: MultimodalData, in_double: Callable[..., MoPoE]) -> None:
    """After 21 steps from the same weights, and with the same noise, no weight is off by more than 1e-3."""
    config = replace(CONFIG, epochs=7)
    wide, narrow = (in_double(build_model(config, tiny_data.modalities)) for _ in range(2))
    for network in (*narrow.encoders.values(), *narrow.decoders.values()):
        network.float()
    # Their wrapper, which converts to float64, is left out.
    narrow.encoders = nn.ModuleDict({name: encoder.inner for name, encoder in narrow.encoders.items()})
    (wide, reports), (narrow, rounded) = (run(config, tiny_data, model=m) for m in (wide, narrow.float()))
    theirs = [p for p in wide.parameters() if p.requires_grad]
    for ours, exact in zip(narrow.parameters(), theirs, strict=True):
        torch.testing.assert_close(ours.double(), exact, atol=1e-3, rtol=0)
    for a, b in zip(rounded, reports, strict=True):
        assert a.loss == pytest.approx(b.loss, rel=1e-5)


def test_one_seed_gives_one_result_bit_by_bit(tiny_data: MultimodalData) -> None:
    """Two runs agree in every weight and every reported number; another seed agrees in none."""
    torch.manual_seed(1)
    (a, reports_a), (b, reports_b) = run(CONFIG, tiny_data), run(CONFIG, tiny_data)
    assert same_weights(a, b)
    assert reports_a == reports_b
    c, reports_c = run(replace(CONFIG, seed=2), tiny_data)
    assert not same_weights(a, c)
    assert all(x.loss != y.loss for x, y in zip(reports_a, reports_c, strict=True))


@pytest.mark.parametrize("k", [1, 2])
def test_a_resumed_trial_equals_an_uninterrupted_one(
    tiny_data: MultimodalData, tmp_path: Path, k: int
) -> None:
    """Trained to epoch k and then to the end: the same weights and reports, bit by bit."""
    whole, expected = run(CONFIG, tiny_data)
    path = tmp_path / "c.safetensors"
    _, first = run(replace(CONFIG, epochs=k), tiny_data, checkpoint=path)
    resumed, rest = run(CONFIG, tiny_data, checkpoint=path)
    assert same_weights(whole, resumed)
    assert first + rest == expected


def test_a_trial_that_was_cut_off_repeats_the_unfinished_epoch(
    tiny_data: MultimodalData, tmp_path: Path
) -> None:
    """What `on_report` raises ends the trial; going on repeats the epoch that was not taken."""
    whole, expected = run(CONFIG, tiny_data)
    path = tmp_path / "c.safetensors"
    taken = cut_off(CONFIG, tiny_data, path)
    assert read_progress(path).epoch == 1
    resumed, rest = run(CONFIG, tiny_data, checkpoint=path)
    assert same_weights(whole, resumed)
    assert taken + rest == expected


def test_a_finished_trial_is_not_trained_again(tiny_data: MultimodalData, tmp_path: Path) -> None:
    """Going on from the last epoch gives the same model and no report."""
    path = tmp_path / "c.safetensors"
    whole, _ = run(CONFIG, tiny_data, checkpoint=path)
    again, reports = run(CONFIG, tiny_data, checkpoint=path)
    assert reports == []
    assert same_weights(whole, again)


def test_a_report_that_is_not_safe_leaves_out_the_checkpoint_but_not_the_last(
    tiny_data: MultimodalData, tmp_path: Path
) -> None:
    """False means "not on disk yet": the checkpoint stays that of the last safe epoch, until the end."""
    path = tmp_path / "c.safetensors"
    saved: list[int | None] = []

    def report(r: EpochReport) -> bool:
        # The file as it stands before this epoch's checkpoint.
        saved.append(read_progress(path).epoch if path.exists() else None)
        return r.epoch in (1, 4)

    train(replace(CONFIG, epochs=5), tiny_data, report, checkpoint=path)
    assert saved == [None, 1, 1, 1, 4]
    assert read_progress(path).epoch == 5


def test_other_settings_than_the_checkpoints_are_an_error(tiny_data: MultimodalData, tmp_path: Path) -> None:
    """The message lists what was and what is; the number of epochs may change."""
    path = tmp_path / "c.safetensors"
    run(replace(CONFIG, epochs=1), tiny_data, checkpoint=path)
    with pytest.raises(CheckpointError) as error:
        run(replace(CONFIG, beta=1.0, seed=4), tiny_data, checkpoint=path)
    assert str(error.value) == (
        f"{path}: belongs to a trial with other settings: "
        "beta was 2.5 and is now 1.0; seed was 1 and is now 4"
    )
    with pytest.raises(CheckpointError, match=r"other settings: data was \('tiny', {'seed': 5}\) and is now"):
        run(CONFIG, replace(tiny_data, options={"seed": 6}), checkpoint=path)


def test_measurements_are_reported_with_their_epoch(tiny_data: MultimodalData) -> None:
    """`evaluate` sees the trained model after each epoch, and training goes on in training mode."""
    seen: list[tuple[int, bool]] = []
    marker = Evaluation(
        split="test", objectives={}, stderr={}, subset_metrics=(), pair_coherence=(), pictures=(), seconds=0.0
    )

    def evaluate(model: MoPoE, epoch: int) -> Evaluation | None:
        seen.append((epoch, model.training))
        model.eval()
        return marker if epoch == 2 else None

    plain_model, expected = run(CONFIG, tiny_data)
    model, reports = run(CONFIG, tiny_data, evaluate=evaluate)
    assert seen == [(1, True), (2, True), (3, True)]
    assert [r.evaluation for r in reports] == [None, marker, None]
    assert [replace(r, evaluation=None) for r in reports] == expected
    assert same_weights(model, plain_model)


def test_networks_of_your_own_train() -> None:
    """MLPs on vectors of two sizes learn: the loss falls and every parameter moves."""
    model = mlps()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    trained, reports = run(replace(SMALL, epochs=30, beta=0.1), vectors(), model=model)
    assert trained is model
    assert reports[-1].loss < reports[0].loss - 1
    assert set(reports[0].reconstruction) == {"u", "v"}
    assert not any(torch.equal(before[name], p) for name, p in model.named_parameters())


def test_dropout_is_a_function_of_seed_and_epoch(tmp_path: Path) -> None:
    """Networks with dropout train alike twice and across a resume, and the global generator is left alone."""

    def dropping() -> MoPoE:
        model = mlps()
        model.decoders["v"] = nn.Sequential(nn.Dropout(0.5), model.decoders["v"])
        return model

    whole, expected = run(SMALL, vectors(), model=dropping())
    again, reports = run(SMALL, vectors(), model=dropping())
    assert reports == expected
    assert same_weights(whole, again)
    path = tmp_path / "c.safetensors"
    run(replace(SMALL, epochs=1), vectors(), model=dropping(), checkpoint=path)
    torch.rand(3)
    resumed, rest = run(SMALL, vectors(), model=dropping(), checkpoint=path)
    assert rest == expected[1:]
    assert same_weights(whole, resumed)
    model, before = dropping(), torch.get_rng_state()
    run(SMALL, vectors(), model=model)
    assert torch.equal(before, torch.get_rng_state())


def test_networks_of_your_own_resume(tmp_path: Path) -> None:
    """Their checkpoints hold what going on needs."""
    whole, expected = run(SMALL, vectors(), model=mlps())
    path = tmp_path / "c.safetensors"
    _, first = run(replace(SMALL, epochs=1), vectors(), model=mlps(), checkpoint=path)
    resumed, rest = run(SMALL, vectors(), model=mlps(), checkpoint=path)
    assert same_weights(whole, resumed)
    assert first + rest == expected


class NanAt(Bernoulli):
    """A likelihood that is not a number in one call."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.calls, self.step = 0, step

    def log_prob(self, output: Tensor, x: Tensor) -> Tensor:
        """Return NaN in the chosen call."""
        self.calls += 1
        value = super().log_prob(output, x)
        return value * math.nan if self.calls == self.step else value


@pytest.mark.parametrize(("step", "epoch"), [(1, 1), (2, 1), (3, 1), (4, 2), (5, 2), (9, 3)])
def test_divergence_names_the_first_bad_step_and_its_epoch(step: int, epoch: int) -> None:
    """Ten samples in batches of four are three steps an epoch; steps count from 1 over the whole trial."""
    reports: list[EpochReport] = []
    with pytest.raises(DivergedError) as error:
        train(SMALL, vectors(), reports.append, model=mlps(NanAt(step)))
    assert str(error.value) == f"the loss is not finite at step {step} (epoch {epoch})"
    assert [r.epoch for r in reports] == list(range(1, epoch))


def test_data_that_is_not_a_number_diverges_at_once() -> None:
    """One NaN in the first batch of samples is found in the first epoch."""
    bad = torch.full((10, 3), math.nan)
    with pytest.raises(DivergedError, match=r"^the loss is not finite at step 1 \(epoch 1\)$"):
        run(SMALL, vectors(bad), model=mlps())


def test_a_huge_learning_rate_diverges_at_the_second_step(tiny_data: MultimodalData) -> None:
    """The first step's loss is that of fresh weights; the second sees what lr = 1e30 made of them."""
    config = replace(CONFIG)
    object.__setattr__(config, "lr", 1e30)  # above what a setting may be
    with pytest.raises(DivergedError, match=r"^the loss is not finite at step 2 \(epoch 1\)$"):
        run(config, tiny_data)


class FlatRoot(Bernoulli):
    """A likelihood whose value is finite and whose gradient is not."""

    def log_prob(self, output: Tensor, x: Tensor) -> Tensor:
        """Add the root of zero, whose slope is infinite."""
        return super().log_prob(output, x) + (output * 0).sum(1).sqrt()


def test_a_gradient_that_is_not_finite_is_said_to_be_the_gradient() -> None:
    """In a single step the loss is finite and the gradient NaN: the message blames the gradient."""
    config = replace(SMALL, batch_size=10, epochs=1)
    with pytest.raises(DivergedError, match=r"^the gradient is not finite at step 1 \(epoch 1\)$"):
        run(config, vectors(), model=mlps(FlatRoot()))


def test_a_diverged_epoch_leaves_the_last_good_checkpoint(tmp_path: Path) -> None:
    """What diverges in epoch 2 can be looked at as it was after epoch 1."""
    path = tmp_path / "c.safetensors"
    with pytest.raises(DivergedError):
        train(SMALL, vectors(), lambda _: None, model=mlps(NanAt(5)), checkpoint=path)
    assert read_progress(path).epoch == 1


def test_gradients_have_the_strides_of_their_parameters(tiny_data: MultimodalData) -> None:
    """What fused Adam on the CPU relies on, for every parameter. Strides of axes of length 1 mean nothing."""
    model = build_model(CONFIG, tiny_data.modalities)
    x = tiny_data.train.batch(slice(0, 9), torch.device("cpu"))
    draws = step_draws(CONFIG, model, 0, 9)
    generalized_elbo(model, x, draws, loss_weights(CONFIG, tiny_data)).loss.backward()
    assert not model.encoders["colour"].convolutions[0].weight.is_contiguous()
    for name, p in model.named_parameters():
        assert p.grad is not None
        for length, ours, theirs in zip(p.shape, p.grad.stride(), p.stride(), strict=True):
            assert length == 1 or ours == theirs, name


def test_time_adds_up_over_processes(tiny_data: MultimodalData, tmp_path: Path) -> None:
    """A report has the time of all epochs and evaluations so far, those before a resume included."""
    path, reports = tmp_path / "c.safetensors", []
    measured = Evaluation(
        split="test",
        objectives={},
        stderr={},
        subset_metrics=(),
        pair_coherence=(),
        pictures=(),
        seconds=50.0,
    )
    for epochs in (2, 3):
        config = replace(CONFIG, epochs=epochs)
        train(
            config,
            tiny_data,
            reports.append,
            evaluate=lambda _, e: measured if e == 2 else None,
            checkpoint=path,
        )
    spent = 0.0
    for report in reports:
        spent += report.seconds + (report.evaluation.seconds if report.evaluation else 0.0)
        assert report.total_seconds == pytest.approx(spent)
    assert [r.epoch for r in reports] == [1, 2, 3]
    assert spent > 50


def test_other_data_are_not_trained_on_from_a_checkpoint(tiny_data: MultimodalData, tmp_path: Path) -> None:
    """Of the same name and options: the hash of their content decides, and both stand in the sentence."""
    path = tmp_path / "c.safetensors"
    train(replace(CONFIG, epochs=1), tiny_data, bool, checkpoint=path)
    with pytest.raises(
        CheckpointError, match=rf"their fingerprint was {tiny_data.fingerprint} and is now other"
    ):
        train(CONFIG, replace(tiny_data, fingerprint="other"), bool, checkpoint=path)


def test_a_checkpoint_is_written_before_its_report_is_passed_on(
    tiny_data: MultimodalData, tmp_path: Path
) -> None:
    """`on_report`, checkpoint, `on_saved`: whoever hears of an epoch last can go on from it."""
    path, told = tmp_path / "c.safetensors", []
    train(
        CONFIG,
        tiny_data,
        lambda r: told.append(("report", r.epoch, path.exists() and read_progress(path).epoch)),
        checkpoint=path,
        on_saved=lambda r: told.append(("saved", r.epoch, read_progress(path).epoch)),
    )
    assert told == [
        *[("report", 1, False), ("saved", 1, 1), ("report", 2, 1), ("saved", 2, 2)],
        *[("report", 3, 2), ("saved", 3, 3)],
    ]
