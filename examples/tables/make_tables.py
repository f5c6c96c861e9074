"""Two tables of one subject per row: features of a tumour's nuclei on average, and of its worst ones."""

import polars as pl
from sklearn.datasets import load_breast_cancer

found = load_breast_cancer()
patients = pl.DataFrame({"patient": [f"p{i:03}" for i in range(len(found.data))]})
for kind in ("mean", "worst"):
    columns = [i for i, name in enumerate(found.feature_names) if kind in name]
    features = pl.DataFrame(found.data[:, columns], schema=[str(found.feature_names[i]) for i in columns])
    table = pl.concat([patients, features], how="horizontal")
    (table if kind == "mean" else table.head(-60)).write_csv(f"{kind}.csv")
