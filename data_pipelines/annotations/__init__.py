"""COCO-format files, read and checked: the only place that does so. No TensorFlow.

`read_annotations` reads ground truth for `prepare`, `statistics`, `evaluate` and `score` alike, and
`read_results` reads anybody's poses. What a file leaves out is completed by one set of rules (in
`people`), and what is wrong with it has one wording, whichever command reads it.
"""

from data_pipelines.annotations.checked import Annotations, Fault
from data_pipelines.annotations.people import is_kept, is_masked
from data_pipelines.annotations.reader import read_annotations
from data_pipelines.annotations.reading import Reading
from data_pipelines.annotations.regions import outline, valid_mask
from data_pipelines.annotations.results import check_results, read_results

__all__ = [
    "Annotations",
    "Fault",
    "Reading",
    "check_results",
    "is_kept",
    "is_masked",
    "outline",
    "read_annotations",
    "read_results",
    "valid_mask",
]
