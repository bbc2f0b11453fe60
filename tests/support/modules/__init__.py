"""Small attention networks made at random from a seed, each of which states the truth about its keys and queries.

network = Net(draw(seed))
outputs = network.run()
network.attention_blocks()["stages.0.block.attention"].truth[step].keys     # (("pixels", 0, 0), …)
"""

from tests.support.modules.net import Block, Label, Net, Truth
from tests.support.modules.plan import Change, Plan, draw

__all__ = ["Block", "Change", "Label", "Net", "Plan", "Truth", "draw"]
