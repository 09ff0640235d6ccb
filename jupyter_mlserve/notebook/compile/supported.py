"""What may be a model at all: fitted estimators of the libraries that have a compiled form."""

from __future__ import annotations

from typing import Any

from ...contract.errors import InvalidDefinition
from .compiler import key_of, quietly

LIBRARIES = "scikit-learn, LightGBM or XGBoost"
STANDARD = "Publish it as a standard service instead: %%publish_service."
_PACKAGES = ("sklearn", "lightgbm", "xgboost", "jupyter_mlserve")


def unsupported(model: Any) -> str | None:
    """Why this is no model that could be compiled, as a sentence or two; None if it may be one."""
    if isinstance(model, type):
        said = f"This is the class {model.__name__}."
    elif hasattr(model, "get_params") or type(model).__name__ == "Booster":
        return None
    elif hasattr(model, "predict") or (hasattr(model, "fit") and hasattr(model, "transform")):
        return f"{type(model).__name__} is no estimator of {LIBRARIES}. {STANDARD}"
    else:
        said = f"This is a {type(model).__name__}."
    return f"{said} A realtime service is made of a fitted model of {LIBRARIES}."


def foreign(estimator: Any) -> str | None:
    """Why a class of somebody else's has no compiled form; None for those of the libraries."""
    if key_of(estimator)[0] in _PACKAGES:
        return None
    name, module = type(estimator).__name__, type(estimator).__module__
    where = "this notebook" if module == "__main__" else module
    return f"{name} is a class of {where}, and only those of {LIBRARIES} have a compiled form"


def check_fitted(model: Any) -> None:
    """Raises InvalidDefinition for an estimator that is not fitted."""
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    if not hasattr(model, "get_params"):
        return
    try:
        quietly(check_is_fitted, model)
    except NotFittedError:
        raise InvalidDefinition(
            f"The {type(model).__name__} is not fitted. Call fit first.", field="model"
        ) from None
    except (TypeError, AttributeError):  # it looks like an estimator and is none
        return
