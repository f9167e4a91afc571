"""What the lowest version of PyTorch that is supported cannot be asked."""

from __future__ import annotations

import torch

VERSION = tuple(int(part) for part in torch.__version__.split(".")[:2])
OLD_COMPILER = VERSION < (2, 6)
"""torch.compile of 2.3 breaks at a class's own constructor and at an autograd.Function with plain arguments."""

OLD_COUNTERS = VERSION < (2, 4)
"""2.3 cannot count the products that are written to a given tensor, and on the meta device adds embeddings by index_put
and makes tensors of lists unseen."""
