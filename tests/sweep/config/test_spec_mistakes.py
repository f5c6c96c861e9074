"""Every mistake in a sweep's file, and the one sentence about it."""

from dataclasses import replace

import pytest
from spec_texts import (
    DIFFER,
    EVALUATION,
    FINITE,
    FOLDER,
    FULL,
    GPU,
    KINDS,
    MAPPING,
    OBJECTIVES,
    SAMPLERS,
    SETTINGS,
    SHORT,
    TOP,
    WEIGHTS,
    WHOLE,
    WORD,
)

from mopoe.data.registry import DATA_SETS

MISTAKES = [
    # unknown keys, at each level
    (
        "trials: 14",
        "trails: 14",
        f":3: unknown key 'trails'; did you mean 'trials'? possible: {TOP}\nx.yaml: key 'trials' is missing",
    ),
    ("trials: 14", "trials: 14\n7: x", f":4: unknown key 7; possible: {TOP}"),
    ("seed: 1}", "sed: 1}", ":2: data: unknown key 'sed'; did you mean 'seed'? possible: name, seed"),
    ("  beta:", "  bta:", f":11: search_space: unknown key 'bta'; did you mean 'beta'? possible: {SETTINGS}"),
    ("  beta: {", "  5: {", f":11: search_space: unknown key 5; possible: {SETTINGS}"),
    (
        "    low: 1e-3",
        "    low: 1e-3\n    hihg: 1",
        ":15: search_space.lr: unknown key 'hihg'; did you mean 'high'? possible: when, low, high, type",
    ),
    (
        "over: size",
        "over: size, low: 1",
        ":18: search_space.subset_weights: unknown key 'low'; possible: when, type, over",
    ),
    (
        "  epochs: 5",
        "  epoch: 5",
        f":20: fixed: unknown key 'epoch'; did you mean 'epochs'? possible: {SETTINGS}",
    ),
    ("  epochs: 5", "  1: 5", f":20: fixed: unknown key 1; possible: {SETTINGS}"),
    (
        "  split:",
        "  splt:",
        f":24: evaluation: unknown key 'splt'; did you mean 'split'? possible: {EVALUATION}",
    ),
    (
        "cpu: 2",
        "cpus: 2",
        ":25: resources: unknown key 'cpus'; did you mean 'cpu'? possible: cpu, gpu, concurrent",
    ),
    (
        "  joint_coherence: 0.1",
        "  joint_coherenc: 0.1",
        ":7: reference_point: key 'joint_coherence' is missing; every objective has one",
    ),
    (
        "-9000",
        "-9000\n  conditional_coherence: 0",
        (
            ":9: reference_point: unknown key 'conditional_coherence'; did you mean 'joint_coherence'? "
            "possible: log_likelihood, joint_coherence"
        ),
    ),
    ("  joint_coherence: 0.1", "  3: 0.1", f":9: reference_point: unknown key 3; possible: {OBJECTIVES}"),
    # missing keys
    ("name: digits\n", "", ": key 'name' is missing"),
    ("{name: digits, seed: 1}", "{seed: 1}", ":2: data: key 'name' is missing"),
    ("low: 0.25, ", "", ":11: search_space.beta: key 'low' is missing"),
    ("type: log_uniform, ", "", f":11: search_space.beta: key 'type' is missing; possible: {KINDS}"),
    (", values: [64, 128]", "", ":17: search_space.batch_size: key 'values' is missing"),
    (", over: size", "", ":18: search_space.subset_weights: key 'over' is missing"),
    # wrong types
    ("trials: 14", "trials: '14'", f":3: trials is '14', {WHOLE}"),
    ("trials: 14", "trials: true", f":3: trials is true, {WHOLE}"),
    ("trials: 14", "trials: 14.0", f":3: trials is 14.0, {WHOLE}"),
    ("trials: 14", "trials:", f":3: trials is null, {WHOLE}"),
    ("name: digits\n", "name: 3\n", f":1: name is 3, {WORD}"),
    ("name: digits\n", "name: a/b\n", f":1: name is 'a/b', {FOLDER}"),
    ("name: digits\n", "name: ..\n", f":1: name is '..', {FOLDER}"),
    ("{name: digits, seed: 1}", "digits", f":2: data is 'digits', {MAPPING}"),
    ("{name: digits, seed: 1}", "{name: 3}", f":2: data: name is 3, {WORD}"),
    ("seed: 1}", "seed: x}", f":2: data: seed is 'x', {WHOLE}"),
    ("seed: 1}", "seed: true}", f":2: data: seed is true, {WHOLE}"),
    # an option without a default
    (
        "name: digits, seed: 1}",
        "name: polymnist, seed: 1}",
        (
            ":2: data: key 'path' is missing; the folder MMNIST, or a file made by "
            "`sweep data build polymnist`"
        ),
    ),
    ("name: digits, seed: 1}", "name: polymnist, path: 3}", f":2: data: path is 3, {WORD}"),
    ("name: digits, seed: 1}", "name: polymnist, path:}", f":2: data: path is null, {WORD}"),
    (
        "name: digits, seed: 1}",
        "name: polymnist, pth: x}",
        ":2: data: unknown key 'pth'; did you mean 'path'? possible: name, path, seed",
    ),
    (
        "[log_likelihood, joint_coherence]",
        "log_likelihood",
        ":6: objectives is 'log_likelihood', but must be a list",
    ),
    ("[log_likelihood, joint_coherence]", "[log_likelihood, 3]", f":6: objectives: entry 2 is 3, {WORD}"),
    ("-9000", "'-9000'", ":8: reference_point: log_likelihood is '-9000', but must be a number"),
    (
        "{type: log_uniform, low: 0.25, high: 8}",
        "2.5",
        (
            ":11: search_space: beta is 2.5, but must be a mapping such as {type: uniform, low: 1, high: "
            "2}; constants go to `fixed`"
        ),
    ),
    ("high: 8}", "high: eight}", ":11: search_space.beta: high is 'eight', but must be a number"),
    ("low: 8,", "low: 8.5,", f":16: search_space.latent_dim: low is 8.5, {WHOLE}"),
    ("log: true", "log: 1", ":16: search_space.latent_dim: log is 1, but must be true or false"),
    ("[64, 128]", "64", ":17: search_space.batch_size: values is 64, but must be a list"),
    (
        "  coherence_samples: 300",
        "  coherence_samples: 3e2",
        f":23: evaluation: coherence_samples is 300.0, {WHOLE}",
    ),
    ("  split: test", "  split: 3", f":24: evaluation: split is 3, {WORD}"),
    ("resources: {cpu: 2, gpu: 0.25, concurrent: 4}", "resources: 2", f":25: resources is 2, {MAPPING}"),
    ("concurrent: 4", "concurrent: 1.5", f":25: resources: concurrent is 1.5, {WHOLE}"),
    ("gpu: 0.25", "gpu: all", f":25: resources: gpu is 'all', {GPU}"),
    ("gpu: 0.25", "gpu: true", f":25: resources: gpu is true, {GPU}"),
    # impossible numbers
    ("trials: 14", "trials: -1", ":3: trials is -1, but must be at least 1"),
    ("trials: 14", "trials: 0", ":3: trials is 0, but must be at least 1"),
    ("seed: 3", "seed: 4294967296", ":4: seed is 4294967296, but must be below 4294967296"),
    ("seed: 3", "seed: -1", ":4: seed is -1, but must be at least 0"),
    ("-9000", ".nan", f":8: reference_point: log_likelihood is nan, {FINITE}"),
    ("-9000", "-.inf", f":8: reference_point: log_likelihood is -inf, {FINITE}"),
    ("high: 8}", "high: .inf}", f":11: search_space.beta: high is inf, {FINITE}"),
    ("low: 0.25", "low: 8", f":11: search_space.beta: low and high are both 8.0, {DIFFER}"),
    (
        "    low: 1e-3",
        "    low: 5e-3",
        ":14: search_space.lr: low is 0.005, but must be below high (0.004); swap them?",
    ),
    ("low: 0.25", "low: 0", ":11: search_space.beta: low is 0.0, but must be above 0 for log_uniform"),
    ("low: 8,", "low: 0,", ":16: search_space.latent_dim: low is 0, but must be at least 1 with log: true"),
    (
        "log: true",
        "log: true, step: 2",
        ":16: search_space.latent_dim: step is 2, but must be 1 with log: true",
    ),
    ("log: true", "step: 0", ":16: search_space.latent_dim: step is 0, but must be at least 1"),
    (
        "log: true",
        "step: 10",
        (
            ":16: search_space.latent_dim: high is 64, but must be low plus a multiple of step; near: 58 "
            "and 68"
        ),
    ),
    ("cpu: 2", "cpu: 0", ":25: resources: cpu is 0, but must be at least 0.01"),
    ("gpu: 0.25", "gpu: -1", f":25: resources: gpu is -1, {GPU}"),
    ("gpu: 0.25", "gpu: 1.5", f":25: resources: gpu is 1.5, {GPU}"),
    ("gpu: 0.25", "gpu: 2", f":25: resources: gpu is 2, {GPU}"),
    ("gpu: 0.25", "gpu: .inf", f":25: resources: gpu is inf, {GPU}"),
    ("concurrent: 4", "concurrent: 0", ":25: resources: concurrent is 0, but must be at least 1"),
    (
        "  subset_weights: {type: simplex, over: size}",
        "  subset_weights: {type: choice, values: [[m0, m1], {m0: 0.5, m1: 0.5}]}",
        ":18: search_space.subset_weights.values: entry 2 means the same as a list; keep one",
    ),
    ("cpu: 2", "cpu: 1e300", ":25: resources: cpu is 1e+300, but must be at most 10000.0"),
    (
        "concurrent: 4",
        "concurrent: 10000000",
        ":25: resources: concurrent is 10000000, but must be at most 100000",
    ),
    ("trials: 14", "trials: 10000000000", ":3: trials is 10000000000, but must be at most 1000000"),
    (
        "  epochs: 5",
        "  epochs: 10000000000",
        ":20: fixed: epochs is 10000000000, but must be between 1 and 1,000,000",
    ),
    ("  epochs: 5", "  epochs: 5\n  lr: 1e27", ":21: fixed: lr is 1e+27, but must be between 1e-15 and 10"),
    (
        "  epochs: 5",
        "  epochs: 5\n  likelihood_weights: [0, 0, 0, 0, 0]",
        (
            ":21: fixed: likelihood_weights is [0.0, 0.0, 0.0, 0.0, 0.0], but must be numbers between 0 and "
            "1,000,000, not all of them 0"
        ),
    ),
    (
        "  coherence_samples: 300",
        "  coherence_samples: 10000000000",
        ":23: evaluation: coherence_samples is 10000000000, but must be between 1 and 1,000,000",
    ),
    # names that do not exist
    ("nsga2", "nsg2", f":5: sampler is 'nsg2'; did you mean 'nsga2'? possible: {SAMPLERS}"),
    ("nsga2", "3", f":5: sampler is 3; possible: {SAMPLERS}"),
    (
        "joint_coherence]",
        "joint_cohernce]",
        (
            ":6: objectives: unknown objective 'joint_cohernce'; did you mean 'joint_coherence'? "
            f"possible: {OBJECTIVES}"
        ),
    ),
    (
        "{name: digits, seed: 1}",
        "{name: digit}",
        (
            f":2: data: there is no data set 'digit'; there are: {', '.join(DATA_SETS)}, and functions of "
            "your own as package.module:function. Did you mean 'digits'?"
        ),
    ),
    (
        "type: log_uniform",
        "type: log_unifrm",
        f":11: search_space.beta: type is 'log_unifrm'; did you mean 'log_uniform'? possible: {KINDS}",
    ),
    ("type: log_uniform", "type: [1]", f":11: search_space.beta: type is a list; possible: {KINDS}"),
    (
        "over: size",
        "over: sizes",
        (
            ":18: search_space.subset_weights: over is 'sizes'; did you mean 'size'? "
            "possible: size, subset, a list of subsets"
        ),
    ),
    (
        "  split: test",
        "  split: tst",
        ":24: evaluation: split is tst, but must be one of train, validation, test",
    ),
    # subsets by label
    (
        "over: size",
        "over: [m0, m9+m1]",
        (
            ":18: search_space.subset_weights: there is no subset 'm9+m1'; did you mean 'm0+m1'? "
            "modalities: m0, m1, m2, m3, m4"
        ),
    ),
    (
        "over: size",
        "over: [m0+m1, m1+m0]",
        ":18: search_space.subset_weights: subset 'm1+m0' is there twice; keep one",
    ),
    (
        "over: size",
        "over: [m0]",
        (
            ":18: search_space.subset_weights: over has fewer than two subsets, which leaves nothing to "
            "search; add another"
        ),
    ),
    (
        "over: size",
        "over: [m0, 3]",
        ":18: search_space.subset_weights.over: entry 2 is 3, but must be a subset such as m0+m1",
    ),
    # early stopping
    (
        "trials: 14",
        "trials: 14\nscheduler: {typ: halving}",
        (
            ":4: scheduler: unknown key 'typ'; did you mean 'type'? "
            "possible: type, grace, eta, brackets, objective"
        ),
    ),
    (
        "trials: 14",
        "trials: 14\nscheduler: {type: halvin}",
        ":4: scheduler: type is 'halvin'; did you mean 'halving'? possible: none, halving, asha, median",
    ),
    (
        "trials: 14",
        "trials: 14\nscheduler: {type: halving, grace: 5}",
        ":4: scheduler: grace is 5, but trials have 5 epochs and a rung must lie below",
    ),
    (
        "trials: 14",
        "trials: 14\nscheduler: {type: halving, eta: 1}",
        ":4: scheduler: eta is 1, but must be at least 2",
    ),
    (
        "trials: 14",
        "trials: 14\nscheduler: {type: halving, eta: 3, brackets: 2}",
        ":4: scheduler: brackets is 2, but rungs are at: 2",
    ),
    (
        "trials: 14",
        "trials: 14\nscheduler: {type: halving, grace: 1, eta: 3, brackets: 3}",
        ":4: scheduler: brackets is 3, but rungs are at: 1, 3",
    ),
    (
        "trials: 14",
        "trials: 14\nscheduler: {type: asha}",
        (":4: scheduler: key 'objective' is missing; asha compares one of: log_likelihood, joint_coherence"),
    ),
    (
        "trials: 14",
        "trials: 14\nscheduler: {type: median, objective: conditional_coherence}",
        (
            ":4: scheduler: objective is 'conditional_coherence'; did you mean 'joint_coherence'? "
            "possible: log_likelihood, joint_coherence"
        ),
    ),
    (
        "trials: 14",
        "trials: 14\nscheduler: {type: halving, objective: log_likelihood}",
        (":4: scheduler: objective is 'log_likelihood', but halving compares all objectives; leave it out"),
    ),
    # constraints
    (
        "trials: 14",
        "trials: 14\nconstraints: {parameter: '<= 1'}",
        (
            ":4: constraints: unknown key 'parameter'; did you mean 'parameters'? "
            "possible: conditional_coherence, joint_coherence, log_likelihood, parameters, seconds"
        ),
    ),
    (
        "trials: 14",
        "trials: 14\nconstraints: {seconds: '< 5'}",
        ':4: constraints: seconds is \'< 5\', but must be a limit such as "<= 20e6" or ">= 0.1"',
    ),
    ("trials: 14", "trials: 14\nconstraints: {seconds: 5}", f":4: constraints: seconds is 5, {WORD}"),
    # parameters under others
    (
        "type: choice, values: [64, 128]",
        "type: choice, values: [64, 128], when: {method: moe}",
        (
            ":17: search_space.batch_size.when: when needs a choice that stands above batch_size; "
            "possible: none"
        ),
    ),
    (
        "{type: simplex, over: size}",
        "{type: simplex, over: size, when: {batch_size: 32}}",
        ":18: search_space.subset_weights.when: batch_size is 32; possible: 64, 128",
    ),
    (
        "  batch_size: {type: choice, values: [64, 128]}",
        "  method: {type: choice, values: [mopoe, moe]}",
        (
            ":17: search_space.method.values: subset_weights is given, but method moe fixes the subsets' "
            "weights; leave one out"
        ),
    ),
    # known points and grids
    (
        "trials: 14",
        "trials: 14\nstart_with: [{beta: 1}, {bta: 1}]",
        (
            ":4: start_with.1: unknown key 'bta'; did you mean 'beta'? "
            "possible: beta, lr, latent_dim, batch_size, subset_weights"
        ),
    ),
    (
        "trials: 14",
        "trials: 14\nstart_with: [{beta: 9}]",
        ":4: start_with: beta is 9.0, but must be between 0.25 and 8.0",
    ),
    (
        "trials: 14",
        "trials: 14\nstart_with: [{latent_dim: 2}]",
        ":4: start_with: latent_dim is 2, but must be between 8 and 64",
    ),
    (
        "sampler: nsga2",
        "sampler: grid",
        ":11: search_space.beta: type is 'log_uniform', but a grid needs int or choice",
    ),
    # empty or repeated
    ("[log_likelihood, joint_coherence]", "[]", ":6: objectives is an empty list, but must be non-empty"),
    ("joint_coherence]", "log_likelihood]", ":6: objectives: 'log_likelihood' is there twice; keep one"),
    ("[64, 128]", "[]", ":17: search_space.batch_size: values is an empty list, but must be non-empty"),
    ("[64, 128]", "[64, 64]", ":17: search_space.batch_size: values has 64 twice; keep one"),
    ("seed: 3", "trials: 3", ":4:1: invalid YAML: key 'trials' is there twice, in lines 3 and 4; keep one"),
    ("  epochs: 5", "  lr: 0.001", ":12: search_space: 'lr' is also under `fixed`; keep one of the two"),
    # values that make no trial
    ("  epochs: 5", "  epochs: 0", ":20: fixed: epochs is 0, but must be between 1 and 1,000,000"),
    ("  epochs: 5", "  epochs: 5.0", f":20: fixed: epochs is 5.0, {WHOLE}"),
    (
        "  epochs: 5",
        "  prior_expert: most",
        ":20: fixed: prior_expert is most, but must be one of full, all, none",
    ),
    (
        "[16, 32, 64]",
        "[16, 32]",
        ":21: fixed: channels is [16, 32], but must be three numbers between 1 and 16,384",
    ),
    (
        "low: 8, high: 64, log: true",
        "low: -8, high: 64",
        ":16: search_space.latent_dim: latent_dim is -8, but must be between 1 and 65,536",
    ),
    (
        "[64, 128]",
        "[64, 0]",
        ":17: search_space.batch_size.values: batch_size is 0, but must be between 1 and 1,000,000",
    ),
    ("[64, 128]", "[64, 1.5]", f":17: search_space.batch_size.values: batch_size is 1.5, {WHOLE}"),
    (
        "  coherence_samples: 300",
        "  coherence_samples: 0",
        ":23: evaluation: coherence_samples is 0, but must be between 1 and 1,000,000",
    ),
    # parameters that do not fit their setting
    (
        "{type: simplex, over: size}",
        "{type: uniform, low: 0, high: 1}",
        ":18: search_space.subset_weights: type is 'uniform', but subset_weights needs simplex or choice",
    ),
    (
        "{type: log_uniform, low: 0.25, high: 8}",
        "{type: simplex, over: size}",
        ":11: search_space.beta: type is 'simplex', but beta needs uniform or log_uniform or choice",
    ),
    (
        "{type: log_uniform, low: 0.25, high: 8}",
        "{type: int, low: 1, high: 8}",
        ":11: search_space.beta: type is 'int', but beta needs uniform or log_uniform or choice",
    ),
    (
        "{type: int, low: 8, high: 64, log: true}",
        "{type: uniform, low: 8, high: 64}",
        ":16: search_space.latent_dim: type is 'uniform', but latent_dim needs int or choice",
    ),
    (
        "  batch_size: {type: choice, values: [64, 128]}",
        "  prior_expert: {type: int, low: 1, high: 2}",
        ":17: search_space.prior_expert: type is 'int', but prior_expert needs choice",
    ),
    (
        "{type: simplex, over: size}",
        "{type: choice, values: [null, [1, 0]]}",
        f":18: search_space.subset_weights.values: {WEIGHTS}",
    ),
]


@pytest.mark.parametrize(("old", "new", "message"), MISTAKES)
def test_a_mistake_is_one_sentence_with_its_line(refusal, old, new, message):
    """The message says where, what was found and what is possible, and nothing of the libraries below."""
    assert FULL.count(old) == 1
    assert refusal(FULL.replace(old, new)) == f"x.yaml{message}"


def test_one_modality_has_nothing_to_generate_from(refusal, monkeypatch):
    """Its conditional coherence would never be a number; other objectives are fine."""
    one = replace(DATA_SETS["digits"], modalities=DATA_SETS["digits"].modalities[:1])
    monkeypatch.setitem(DATA_SETS, "digits", one)
    assert refusal(SHORT) == (
        "x.yaml: 'conditional_coherence' generates a modality from others, but the data set has only one"
    )
