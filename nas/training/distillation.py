"""Knowledge distillation: a network learns from the labels and from a teacher's logits.

Shape suffixes: V views, N training images, B images of a batch, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

TEMPERATURE = 2.0  # divides the logits of both networks: differences between wrong classes count
WEIGHT = 0.7  # of the teacher in the loss; the labels have the rest


@dataclass(frozen=True)
class Teacher:
    """A trained network's logits on the training images, in the order of their split.

    A student should see each image as its teacher saw it (Beyer et al., arXiv 2106.05237), which
    a teacher that runs beside each student gives at the cost of its forward pass in each step.
    Logits that are computed once, for each image as it is and mirrored, cost two passes over
    the images, however many students there are: a mirrored training image is matched with the
    logits of the mirrored view. Its random crop, a shift by a few pixels, is not matched.
    """

    network: str  # its name
    logits: Tensor  # [V, N, K] float16; V is 2 where a mirrored image keeps its label, else 1
    fingerprint: str  # of the network's weights and of all settings of its training
    seconds: float  # its training and its logits


def distillation_loss(
    student_BK: Tensor, teacher_BK: Tensor, weights_B: Tensor | None = None
) -> Tensor:
    """Kullback-Leibler divergence of the student's from the teacher's softened probabilities.

    It is multiplied by the square of the temperature, so that its gradients have the size of
    those of the labels (Hinton, Vinyals and Dean, arXiv 1503.02531, section 2.1).

    Args:
        student_BK: logits.
        teacher_BK: logits of the same images.
        weights_B: of the images in the mean; None: equal ones.
    """
    student_BK, teacher_BK = (
        F.log_softmax(logits_BK.float() / TEMPERATURE, dim=1)
        for logits_BK in (student_BK, teacher_BK)
    )
    loss_B = F.kl_div(student_BK, teacher_BK, reduction="none", log_target=True).sum(1)
    loss = loss_B.mean() if weights_B is None else (loss_B * weights_B).sum() / weights_B.sum()
    return TEMPERATURE**2 * loss
