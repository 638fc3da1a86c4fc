"""The judge: numpy and scipy only, no files, no records of studies; arrays in, verdicts out."""
