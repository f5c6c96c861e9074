# The sweep with this project. After an interruption: sweep resume results/halves
sweep run halves.yaml
sweep report results/halves # the page, results/halves/report/report.html
sweep impute results/halves --from left_kept_back.csv --out imputed.csv # by the model at the knee of the front
python use_imputed.py
