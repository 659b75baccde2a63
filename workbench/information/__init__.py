"""Estimators of entropy and mutual information: each takes arrays and answers an :class:`Estimate` in bits.

Which to use: a probe's held-out probabilities give :func:`classifier_bound` in any dimension; :func:`mixed_ksg` and :func:`ksg`
need ten dimensions or fewer (compress first, :class:`PCACompressor`); :func:`gaussian_logdet` sees linear dependence alone;
:func:`plugin_discrete` is for codes and bins.

Rows of one document are not independent: give ``clusters``. Only the classifier bound has an interval; the others have a sampling
error, and a bias that may be larger: :func:`with_moves` shows how they move with the sample and with the neighbours, and
:func:`with_null` what they read when there is nothing to find.
"""

from workbench.information.bias import with_moves
from workbench.information.bound import classifier_bound
from workbench.information.compress import PCACompressor
from workbench.information.discrete import apply_bins, equal_count_bins, plugin_discrete
from workbench.information.estimate import Estimate
from workbench.information.gaussian import gaussian_logdet
from workbench.information.knn import ksg
from workbench.information.mixed import mixed_ksg
from workbench.information.null import with_null

__all__ = [
    "Estimate", "PCACompressor", "apply_bins", "classifier_bound", "equal_count_bins", "gaussian_logdet", "ksg", "mixed_ksg",
    "plugin_discrete", "with_moves", "with_null",
]  # fmt: skip
