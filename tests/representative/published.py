"""The clusters that Meng et al. print (Sec. 4.3), and similarity matrices made from them and at random."""

import torch

from cam_utils.data.voc import CLASSES
from cam_utils.evaluation.results import paper_table

PUBLISHED = paper_table("repcam_clusters")  # Meng et al., Sec. 4.3
NAMES = PUBLISHED.groupby("cluster")["class"].apply(list).tolist()
GROUPS = [[CLASSES.index(name) for name in group] for group in NAMES]


def from_clusters(noise=0.2, seed=0):
    """Return a B whose classes are more similar within the published clusters, plus noise."""
    owner = torch.tensor([next(g for g, members in enumerate(GROUPS) if c in members) for c in range(20)])
    same = (owner[:, None] == owner).double()
    return same + noise * torch.rand(20, 20, generator=torch.Generator().manual_seed(seed)).double()


def random_b(n, seed):
    return torch.rand(n, n, generator=torch.Generator().manual_seed(seed)).double()
