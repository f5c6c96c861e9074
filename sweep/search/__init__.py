"""Which config comes next, which trial goes on: Optuna and halving behind Ray's interfaces."""
