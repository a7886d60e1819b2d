"""Data sets and batches."""

from nas.data.batches import Batches
from nas.data.datasets import load_search_data, load_test_data, resolve_dataset
from nas.data.info import DatasetInfo, SearchData, SplitRecord
from nas.data.outline import NotHere
from nas.data.splits import DatasetError, Split

__all__ = [
    "Batches",
    "DatasetError",
    "DatasetInfo",
    "NotHere",
    "SearchData",
    "Split",
    "SplitRecord",
    "load_search_data",
    "load_test_data",
    "resolve_dataset",
]
