"""Drawing with any pipeline: one order for all of them, and a U-Net's inputs when it is called outside its pipeline."""
