"""The file of a model: pipelines by decision point, written and read with skops and a short list of trusted types."""

from __future__ import annotations

import warnings
from pathlib import Path

from sklearn.pipeline import Pipeline

from ml.core.errors import ModelRefusedError
from ml.io.manifest import ADVICE

# To name a numpy or scipy function, skops asks every loaded module whether it has one of that name. Airflow's answer
# with a warning each time: a thousand lines in the log of a training.
warnings.filterwarnings("ignore", category=FutureWarning, module=r"skops\.io\._utils")
import skops.io  # noqa: E402

# What our own pipelines hold beyond what skops trusts by itself (scikit-learn's estimators, numpy's arrays and ufuncs).
# Reviewed: each only holds or describes data; `partial` is loaded only around a function that is itself on the list.
TRUSTED_TYPES = (
    "numpy.dtype",  # of encoded categories and scaled columns
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",  # one tree: arrays of nodes
    "sklearn.tree._tree.Tree",  # one tree of a forest: arrays of nodes and values
    "functools.partial",  # HistGradientBoosting wraps check_array for its categorical columns
    "sklearn.utils.validation.check_array",
    "sklearn.utils._bunch.Bunch",  # a dictionary: the members of averaged models by name
)


def dump_pipelines(name: str, pipelines: dict[str, Pipeline]) -> bytes:
    """What to write; raises `ModelRefusedError` if the pipelines hold a type that could not be loaded again."""
    content: bytes = skops.io.dumps(pipelines)
    foreign = _list_foreign_types(content)
    if foreign:
        raise ModelRefusedError(f"{name}: the pipeline holds types that are not on the list: {', '.join(foreign)}")
    return content


def list_trusted_types(content: bytes) -> tuple[str, ...]:
    """The types in a file that skops does not trust by itself."""
    return tuple(sorted(skops.io.get_untrusted_types(data=content)))


def load_pipelines(path: Path, content: bytes) -> dict[str, Pipeline]:
    """Read what `dump_pipelines` made; messages begin with `path`.

    Raises `ModelRefusedError` for a foreign type, and for what is no file of pipelines.
    """
    try:
        foreign = _list_foreign_types(content)
        if foreign:
            raise ModelRefusedError(f"{path} holds foreign types: {', '.join(foreign)}: {ADVICE}")
        pipelines = skops.io.loads(content, trusted=list(TRUSTED_TYPES))
    except ModelRefusedError:
        raise
    except Exception as error:
        raise ModelRefusedError(f"{path} can't be read as a model ({error}): {ADVICE}") from error
    if not isinstance(pipelines, dict) or not pipelines:
        raise ModelRefusedError(f"{path} holds a {type(pipelines).__name__}, not pipelines by name: {ADVICE}")
    for key, pipeline in pipelines.items():
        if not isinstance(pipeline, Pipeline):
            raise ModelRefusedError(f"{path} holds a {type(pipeline).__name__} as {key!r}, not a pipeline: {ADVICE}")
    return pipelines


def _list_foreign_types(content: bytes) -> list[str]:
    return sorted(set(skops.io.get_untrusted_types(data=content)) - set(TRUSTED_TYPES))
