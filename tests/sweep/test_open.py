"""The notebook's way in, as the README shows it."""

import sweep


def test_a_folder_by_name_gives_lazy_tables(made_up_sweep):
    """`sweep.open` takes a string, and its tables filter as the README says."""
    store = sweep.open(str(made_up_sweep))
    done = store.trials().filter(status="completed").collect()
    assert set(done["status"]) == {"completed"}
    assert store.manifest.objectives[0].name == "conditional_coherence"
