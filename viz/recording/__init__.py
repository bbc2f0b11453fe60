"""Recording a run: hooks on the network, copies of Q and K, and the memory that a recording will take."""
