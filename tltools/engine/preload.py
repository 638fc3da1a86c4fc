"""Imported once by the template that job processes are forked from: the heavy libraries, and nothing else.

Nothing may run here: a process that has run one torch operation and then forks gives children that hang.
"""

from __future__ import annotations

import gc

from tltools.engine import torchvision_operators

torchvision_operators.ensure()

import pandas  # noqa: E402, F401
import pyarrow.parquet  # noqa: E402, F401
import safetensors.torch  # noqa: E402, F401
import sklearn.linear_model  # noqa: E402, F401
import timm  # noqa: E402, F401
import torch  # noqa: E402, F401
import transformers.models.auto  # noqa: E402, F401

gc.freeze()  # what is loaded stays: children need not walk it, and share its pages
