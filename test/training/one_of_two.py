"""One of two processes that torchrun starts: averages known gradients, then trains with the arguments it was given."""

from __future__ import annotations

import sys

import torch

from rdflux_ros.training.parallel import Ranks
from rdflux_ros.training.train import main

ranks = Ranks(torch.device("cpu"))
first, second, unused = (torch.nn.Parameter(torch.ones(shape)) for shape in ((2,), (3, 1), (1,)))
first.grad, second.grad = torch.full((2,), 0.0 + ranks.rank), torch.full((3, 1), 10.0 + ranks.rank)
assert ranks.average(torch.tensor(4.0 * ranks.rank), [first, second, unused]) == 2.0
assert first.grad.tolist() == [0.5] * 2 and second.grad.tolist() == [[10.5]] * 3 and unused.grad is None
assert ranks.agreed(ranks.rank == 0) and not ranks.agreed(ranks.rank == 1)
sys.exit(main(sys.argv[1:]))
