"""Prints how well the right halves that were kept back are imputed."""

import pandas as pd

right = pd.read_csv("right_kept_back.csv").drop(columns=["digit", "label"])
imputed = pd.read_csv("imputed.csv")[right.columns]
explained = 1 - ((imputed - right) ** 2).mean().mean() / ((right - right.mean()) ** 2).mean().mean()
print(f"of the variance of the right halves kept back {explained:.2f} is explained")
