"""Recording a run: hooks, the memory that copies lie in, and what a recording takes."""
