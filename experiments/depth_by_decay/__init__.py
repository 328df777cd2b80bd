"""Loop depth by weight decay: the headline study."""
