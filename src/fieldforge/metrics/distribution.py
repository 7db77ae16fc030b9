"""Distances between the distribution of generated shapes and that of real ones.

The first three functions read distances between shapes (see `clouds.py`): G generated and R reference shapes, best of
equal number. With each figure report the distance, the numbers of points and shapes, the seed, and the normalisation.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]


def minimum_matching_distance(to_reference: Floats) -> float:
    """MMD from distances (G, R): mean over reference shapes of the distance to the nearest generated one.

    Lower is better; fidelity (Achlioptas et al. 2018, "Learning representations and generative models for 3D point
    clouds").
    """
    return float(to_reference.min(axis=0).mean())


def coverage(to_reference: Floats) -> float:
    """COV from distances (G, R): share of reference shapes that are the nearest one of some generated shape (ibid.).

    Higher is better; diversity. Even a second set of real shapes reaches well below 1.
    """
    return len(np.unique(to_reference.argmin(axis=1))) / to_reference.shape[1]


def nearest_neighbour_accuracy(within_generated: Floats, to_reference: Floats, within_reference: Floats) -> float:
    """1-NNA from distances (G, G), (G, R), (R, R): leave-one-out accuracy of a 1-nearest-neighbour classifier.

    The classifier tells generated from real shapes (Lopez-Paz and Oquab 2017; Yang et al. 2019, "PointFlow"). 0.5 is
    best. Above 0.5 the two sets differ; below it generated shapes copy the reference.
    """
    distances = np.block([[within_generated, to_reference], [to_reference.T, within_reference]])
    np.fill_diagonal(distances, np.inf)
    generated = np.arange(len(distances)) < len(within_generated)
    return float((generated[distances.argmin(axis=1)] == generated).mean())


def frechet_distance(features: Floats, reference: Floats) -> float:
    """Fréchet distance between Gaussians fitted to features (G, D) and reference (R, D), for example latents.

    |μ - ν|² + tr(Σ + Τ - 2 (Σ Τ)^½) (Dowson and Landau 1982). Biased upwards for few samples: compare only numbers with
    equal G, R and D. Needs two samples of each at least.
    """
    offset = features.mean(axis=0, dtype=np.float64) - reference.mean(axis=0, dtype=np.float64)
    root, reference_root = _covariance_root(features), _covariance_root(reference)
    # With Σ = AᵀA and Τ = BᵀB the trace of (ΣΤ)^½ is the sum of the singular values of ABᵀ: no singular matrix's root.
    overlap = np.linalg.svd(root @ reference_root.T, compute_uv=False).sum()
    return float(offset @ offset + np.square(root).sum() + np.square(reference_root).sum() - 2 * overlap)


def kernel_distance(features: Floats, reference: Floats) -> float:
    """Unbiased estimate of the squared MMD between features (G, D) and reference (R, D), kernel (x·y / D + 1)³.

    KID (Bińkowski et al. 2018, arXiv 1801.01401, section 3.1 and eq. 4): unlike the Fréchet distance its mean does not
    depend on G and R, and it may be below 0. Needs two samples of each at least.
    """
    x, y = features.astype(np.float64), reference.astype(np.float64)
    (within_x, within_y), across = (_cubic(x, x), _cubic(y, y)), _cubic(x, y)
    pairs_x, pairs_y = len(x) * (len(x) - 1), len(y) * (len(y) - 1)
    own = (within_x.sum() - within_x.trace()) / pairs_x + (within_y.sum() - within_y.trace()) / pairs_y
    return float(own - 2 * across.mean())


def _cubic(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    kernel: NDArray[np.float64] = (x @ y.T / x.shape[1] + 1) ** 3
    return kernel


def _covariance_root(features: Floats) -> NDArray[np.float64]:
    """A with AᵀA the unbiased covariance of features (N, D), as small as N and D allow: (min(N, D), D)."""
    centered = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)
    root = centered / np.sqrt(len(features) - 1)
    if len(root) > root.shape[1]:
        root = np.linalg.qr(root).R
    return root
