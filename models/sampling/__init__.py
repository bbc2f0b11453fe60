"""Drawing with any pipeline: one order for all of them, and what a U-Net is called with outside its pipeline."""
