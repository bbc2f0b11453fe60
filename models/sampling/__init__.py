"""Drawing with any pipeline: one order for all, and what a bare U-Net is called with."""
