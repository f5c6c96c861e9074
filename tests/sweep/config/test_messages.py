"""Every mistake in a single key of a sweep's file, and the one sentence about it."""

import re

import pytest
from spec_texts import FOLDER, FULL, SHORT, TOP, WORD, mistakes

from mopoe.errors import ConfigError
from sweep.config.sweep_spec import load_spec

MISTAKES = r"""
trials: 14 => trails: 14
:3: unknown key 'trails'; did you mean 'trials'? possible: <TOP>\nx.yaml: key 'trials' is missing

trials: 14 => trials: 14\n7: x
:4: unknown key 7; possible: <TOP>

seed: 1} => sed: 1}
:2: data: unknown key 'sed'; did you mean 'seed'? possible: name, seed

  beta: =>   bta:
:11: search_space: unknown key 'bta'; did you mean 'beta'? possible: <SETTINGS>

  beta: { =>   5: {
:11: search_space: unknown key 5; possible: <SETTINGS>

    low: 1e-3 =>     low: 1e-3\n    hihg: 1
:15: search_space.lr: unknown key 'hihg'; did you mean 'high'? possible: when, low, high, type

over: size => over: size, low: 1
:18: search_space.subset_weights: unknown key 'low'; possible: when, type, over

  epochs: 5 =>   epoch: 5
:20: fixed: unknown key 'epoch'; did you mean 'epochs'? possible: <SETTINGS>

  epochs: 5 =>   1: 5
:20: fixed: unknown key 1; possible: <SETTINGS>

  split: =>   splt:
:24: evaluation: unknown key 'splt'; did you mean 'split'? possible: <EVALUATION>

cpu: 2 => cpus: 2
:25: resources: unknown key 'cpus'; did you mean 'cpu'? possible: cpu, gpu, concurrent

  joint_coherence: 0.1 =>   joint_coherenc: 0.1
:7: reference_point: key 'joint_coherence' is missing; every objective has one

-9000 => -9000\n  3: 0.1
:9: reference_point: unknown key 3; possible: log_likelihood, joint_coherence

name: digits\n => (nothing)
: key 'name' is missing

{name: digits, seed: 1} => {seed: 1}
:2: data: key 'name' is missing

low: 0.25,  => (nothing)
:11: search_space.beta: key 'low' is missing

type: log_uniform,  => (nothing)
:11: search_space.beta: key 'type' is missing; possible: <KINDS>

, values: [64, 128] => (nothing)
:17: search_space.batch_size: key 'values' is missing

, over: size => (nothing)
:18: search_space.subset_weights: key 'over' is missing

trials: 14 => trials: '14'
:3: trials is '14', <COUNT>

trials: 14 => trials: true
:3: trials is true, <COUNT>

trials: 14 => trials: 14.0
:3: trials is 14.0, <COUNT>

trials: 14 => trials:
:3: trials is null, <COUNT>

name: digits\n => name: 3\n
:1: name is 3, <FOLDER>

name: digits\n => name: a/b\n
:1: name is 'a/b', <FOLDER>

name: digits\n => name: ..\n
:1: name is '..', <FOLDER>

{name: digits, seed: 1} => digits
:2: data is 'digits', <MAPPING>

{name: digits, seed: 1} => {name: 3}
:2: data: name is 3, <WORD>

seed: 1} => seed: x}
:2: data: seed is 'x', but must be a whole number

seed: 1} => seed: true}
:2: data: seed is true, but must be a whole number

name: digits, seed: 1} => name: polymnist, seed: 1}
:2: data: key 'path' is missing; the folder MMNIST, or a file made by `sweep data build polymnist`

name: digits, seed: 1} => name: polymnist, path: 3}
:2: data: path is 3, <WORD>

name: digits, seed: 1} => name: polymnist, path:}
:2: data: path is null, <WORD>

name: digits, seed: 1} => name: polymnist, pth: x}
:2: data: unknown key 'pth'; did you mean 'path'? possible: name, path, seed

[log_likelihood, joint_coherence] => log_likelihood
:6: objectives is 'log_likelihood', but must be a list of one to four objectives; a list is written as [log_likelihood]

[log_likelihood, joint_coherence] => [log_likelihood, 3]
:6: objectives: entry 2 is 3, but must be a name, or {name: NAME, direction: minimize}

-9000 => '-9000'
:8: reference_point: log_likelihood is '-9000', <FINITE>

{type: log_uniform, low: 0.25, high: 8} => 2.5
:11: search_space: beta is 2.5, but must be a mapping such as {type: uniform, low: 1, high: 2}; constants go to `fixed`

high: 8} => high: eight}
:11: search_space.beta: high is 'eight', <FINITE>

low: 8, => low: 8.5,
:16: search_space.latent_dim: low is 8.5, but must be a whole number

log: true => log: 1
:16: search_space.latent_dim: log is 1, but must be true or false

[64, 128] => 64
:17: search_space.batch_size: values is 64, but must be a list of values

  coherence_samples: 300 =>   coherence_samples: 3e2
:23: evaluation: coherence_samples is 300.0, <COUNT>

  split: test =>   split: 3
:24: evaluation: split is 3; possible: train, validation, test

resources: {cpu: 2, gpu: 0.25, concurrent: 4} => resources: 2
:25: resources is 2, <MAPPING>

concurrent: 4 => concurrent: 1.5
:25: resources: concurrent is 1.5, <CONCURRENT>

gpu: 0.25 => gpu: all
:25: resources: gpu is 'all', <GPU>

gpu: 0.25 => gpu: true
:25: resources: gpu is true, <GPU>

trials: 14 => trials: -1
:3: trials is -1, <COUNT>

trials: 14 => trials: 0
:3: trials is 0, <COUNT>

seed: 3 => seed: 4294967296
:4: seed is 4294967296, but must be a whole number between 0 and 2^32 - 1

seed: 3 => seed: -1
:4: seed is -1, but must be a whole number between 0 and 2^32 - 1

-9000 => .nan
:8: reference_point: log_likelihood is nan, <FINITE>

-9000 => -.inf
:8: reference_point: log_likelihood is -inf, <FINITE>

high: 8} => high: .inf}
:11: search_space.beta: high is inf, <FINITE>

low: 0.25 => low: 8
:11: search_space.beta: low and high are both 8.0, <DIFFER>

    low: 1e-3 =>     low: 5e-3
:14: search_space.lr: low is 0.005, but must be below high (0.004); swap them?

low: 0.25 => low: 0
:11: search_space.beta: low is 0, but must be a finite number above 0

low: 8, => low: 0,
:16: search_space.latent_dim: low is 0, but must be at least 1 with log: true

log: true => log: true, step: 2
:16: search_space.latent_dim: step is 2, but must be 1 with log: true

log: true => step: 0
:16: search_space.latent_dim: step is 0, but must be a whole number of at least 1

log: true => step: 10
:16: search_space.latent_dim: high is 64, but must be low plus a multiple of step; near: 58 and 68

cpu: 2 => cpu: 0
:25: resources: cpu is 0, but must be a number between 0.01 and 10,000

gpu: 0.25 => gpu: -1
:25: resources: gpu is -1, <GPU>

gpu: 0.25 => gpu: 1.5
:25: resources: gpu is 1.5, <GPU>

gpu: 0.25 => gpu: 2
:25: resources: gpu is 2, <GPU>

gpu: 0.25 => gpu: .inf
:25: resources: gpu is inf, <GPU>

concurrent: 4 => concurrent: 0
:25: resources: concurrent is 0, <CONCURRENT>

  subset_weights: {type: simplex, over: size} =>   subset_weights: {type: choice, values: [[m0, m1], {m0: 0.5, m1: 0.5}]}
:18: search_space.subset_weights.values: entry 2 means the same as ['m0', 'm1']; keep one

cpu: 2 => cpu: 1e300
:25: resources: cpu is 1e+300, but must be a number between 0.01 and 10,000

concurrent: 4 => concurrent: 10000000
:25: resources: concurrent is 10000000, <CONCURRENT>

trials: 14 => trials: 10000000000
:3: trials is 10000000000, <COUNT>

  epochs: 5 =>   epochs: 10000000000
:20: fixed: epochs is 10000000000, <COUNT>

  epochs: 5 =>   epochs: 5\n  lr: 1e27
:21: fixed: lr is 1e+27, but must be a number between 1e-15 and 10

  epochs: 5 =>   epochs: 5\n  likelihood_weights: [0, 0, 0, 0, 0]
:21: fixed: likelihood_weights is [0.0, 0.0, 0.0, 0.0, 0.0], but one weight must be above 0

  coherence_samples: 300 =>   coherence_samples: 10000000000
:23: evaluation: coherence_samples is 10000000000, <COUNT>

nsga2 => nsg2
:5: sampler is 'nsg2'; did you mean 'nsga2'? possible: <SAMPLERS>

nsga2 => 3
:5: sampler is 3, but must be one of tpe, gp, nsga2, nsga3, random, qmc, grid, or a function, as module:function

joint_coherence] => joint_cohernce]
:6: objectives: unknown quantity 'joint_cohernce'; did you mean 'joint_coherence'? possible: <OBJECTIVES>

{name: digits, seed: 1} => {name: digit}
:2: data: there is no data set 'digit'; did you mean 'digits'? possible: celeba, digits, polymnist, translated_polymnist, tables, mnist_svhn_text, and functions of your own as package.module:function

type: log_uniform => type: log_unifrm
:11: search_space.beta: type is 'log_unifrm'; did you mean 'log_uniform'? possible: <KINDS>

type: log_uniform => type: [1]
:11: search_space.beta: type is [1]; possible: <KINDS>

over: size => over: sizes
:18: search_space.subset_weights: over is 'sizes', <OVER>

  split: test =>   split: tst
:24: evaluation: split is 'tst'; did you mean 'test'? possible: train, validation, test

over: size => over: [m0, m9+m1]
:18: search_space.subset_weights: there is no subset 'm9+m1'; did you mean 'm0+m1'? The modalities are m0, m1, m2, m3, m4

over: size => over: [m0+m1, m1+m0]
:18: search_space.subset_weights: subset 'm1+m0' appears twice (as 'm0+m1'); keep one

over: size => over: [m0]
:18: search_space.subset_weights: over is ['m0'], <OVER>

over: size => over: [m0, 3]
:18: search_space.subset_weights: over is ['m0', 3], <OVER>

trials: 14 => trials: 14\nscheduler: {typ: halving}
:4: scheduler: unknown key 'typ'; did you mean 'type'? possible: type, grace, eta, brackets, objective

trials: 14 => trials: 14\nscheduler: {type: halvin}
:4: scheduler: type is 'halvin'; did you mean 'halving'? possible: none, halving, asha, median

trials: 14 => trials: 14\nscheduler: {type: halving, eta: 1}
:4: scheduler: eta is 1, but must be a whole number between 2 and 1,000

trials: 14 => trials: 14\nconstraints: {parameter: '<= 1'}
:4: constraints: unknown quantity 'parameter'; did you mean 'parameters'? possible: <OBJECTIVES>

trials: 14 => trials: 14\nconstraints: {seconds: '< 5'}
:4: constraints: seconds is '< 5', but must be a limit such as "<= 20e6" or ">= 0.1"

trials: 14 => trials: 14\nconstraints: {seconds: 5}
:4: constraints: seconds is 5, but must be a limit such as "<= 20e6" or ">= 0.1"

trials: 14 => trials: 14\nstart_with: [{beta: 1}, {bta: 1}]
:4: start_with.1: unknown key 'bta'; did you mean 'beta'? possible: beta, lr, latent_dim, batch_size, subset_weights

[log_likelihood, joint_coherence] => []
:6: objectives is an empty list, but must be non-empty

joint_coherence] => log_likelihood]
:6: objectives: 'log_likelihood' appears twice; keep one

[64, 128] => []
:17: search_space.batch_size: values is an empty list, but must be non-empty

[64, 128] => [64, 64]
:17: search_space.batch_size.values: entry 2 means the same as 64; keep one

seed: 3 => trials: 3
:4:1: invalid YAML: key 'trials' appears twice, in lines 3 and 4; keep one

  epochs: 5 =>   epochs: 0
:20: fixed: epochs is 0, <COUNT>

  epochs: 5 =>   epochs: 5.0
:20: fixed: epochs is 5.0, <COUNT>

  epochs: 5 =>   prior_expert: most
:20: fixed: prior_expert is 'most'; possible: full, all, none

[16, 32, 64] => [16, 32]
:21: fixed: channels is [16, 32], but must be a list of 3 whole numbers between 1 and 16,384

[64, 128] => [64, 0]
:17: search_space.batch_size.values: batch_size is 0, <COUNT>

[64, 128] => [64, 1.5]
:17: search_space.batch_size.values: batch_size is 1.5, <COUNT>

  coherence_samples: 300 =>   coherence_samples: 0
:23: evaluation: coherence_samples is 0, <COUNT>
"""  # noqa: E501 - sentences as they are printed


@pytest.mark.parametrize(("old", "new", "message"), mistakes(MISTAKES))
def test_a_mistake_is_one_sentence_with_its_line(refusal, old, new, message):
    """The message says where, what was found and what is possible, and nothing of the libraries below."""
    assert FULL.count(old) == 1
    assert refusal(FULL.replace(old, new)) == f"x.yaml{message}"


def test_at_most_three_mistakes_are_told(refusal):
    """One line each, unknown keys first, as they are often the cause of the others."""
    text = SHORT.replace("trials: 3", "trals: 3\nseed: x\nsampler: y").replace("short", "7")
    assert refusal(text).splitlines() == [
        f"x.yaml:3: unknown key 'trals'; did you mean 'trials'? possible: {TOP}",
        f"x.yaml:1: name is 7, {FOLDER}",
        "x.yaml: key 'trials' is missing",
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "objectives: [{name: log_likelihood, direction: up}]",
            "x.yaml:6: objectives.0: direction is 'up'; possible: maximize, minimize",
        ),
        (
            "search_space: {beta: {type: uniform, low: 1}}",
            "x.yaml:5: search_space.beta: key 'high' is missing",
        ),
        ("warm_start: [3]", f"x.yaml:6: warm_start: entry 1 is 3, {WORD}"),
    ],
)
def test_the_only_entry_is_wrong_and_nothing_else(refusal, line, message):
    """It is there, so the list or the mapping is not called empty."""
    key = line.partition(":")[0]
    assert refusal(re.sub(f"^{key}: .*\n", "", SHORT, flags=re.MULTILINE) + line + "\n") == message


def test_a_bad_file_is_a_spec_error(refusal, tmp_path):
    """The reader's sentences arrive as they are."""
    assert refusal("") == "x.yaml is empty, but must have keys and values such as `trials: 14`"
    assert refusal("- a\n") == "x.yaml:1: the file is ['a'], but must be a mapping of keys to values"
    assert refusal("a: [1\nb: 2\n") == "x.yaml:2:2: invalid YAML: expected ',' or ']', but got ':'"
    with pytest.raises(ConfigError, match=r"^there is no file missing\.yaml; "):
        load_spec("missing.yaml")
    with pytest.raises(
        ConfigError, match=rf"^{re.escape(str(tmp_path))} is a folder, but must be a YAML file$"
    ):
        load_spec(tmp_path)


def test_a_text_that_is_no_unicode_is_still_a_sentence(refusal):
    """Also what pydantic refuses before it looks at the pattern."""
    assert refusal(SHORT.replace("short", '"\\ud800"')) == f"x.yaml:1: name is '\\ud800', {FOLDER}"
