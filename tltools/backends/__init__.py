"""Where a job runs: a backend starts `python -m tltools` processes somewhere; the store holds the truth."""
